"""The `[engine]` section of a recipe. Pydantic alone, so that a config is checked without loading vLLM.

[engine]
workers = 2
chunk_groups = 8
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from policies.settings import Settings


class EngineConfig(Settings):
    """How many rollout workers there are, what each may use, and how long anybody waits for them."""

    workers: int = Field(1, ge=1)
    """Engines, one per Ray actor. On a CPU each wants cores of its own: two engines whose threads overlap are
    five times slower than one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the engine's weights and activations. "auto" is the learner's compute dtype."""
    threads: int | None = Field(None, ge=1)
    """OpenMP threads per worker on a CPU; None: the node's cores / workers."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that one worker's weights are split over."""
    max_sequences: int = Field(256, ge=1)
    """Sequences that one engine advances at a time; the rest of a chunk waits."""
    max_batched_tokens: int = Field(8192, ge=16)
    """Prompt and completion tokens that one forward pass may hold."""
    max_model_len: int | None = Field(None, ge=2)
    """Longest prompt + completion, in tokens; None: the policy's own context length."""
    kv_cache_gib: float | None = Field(None, gt=0)
    """Memory for keys and values per worker; None: 1 GiB on a CPU, on a GPU whatever `gpu_memory_share`
    leaves."""
    gpu_memory_share: float = Field(0.45, gt=0, le=1)
    """Share of a GPU's memory that a worker takes (weights, activations, keys and values); the default leaves
    room for a learner on the same GPU. Read on a GPU only."""
    enforce_eager: bool | None = None
    """False compiles the model and captures CUDA graphs; None does so on a GPU only: on a CPU compiling costs
    a minute at start and gains little."""
    chunk_groups: int = Field(16, ge=1)
    """Prompts per chunk, the unit of work and of redoing. Changes rounding (batch composition), so it belongs
    to a run's identity."""
    restart_limit: int = Field(3, ge=0)
    """How often in a run a rollout worker may be restarted after dying or hanging, all workers together."""
    chunk_timeout_s: float = Field(1800.0, gt=0)
    """A worker that has delivered nothing for so long is killed and its chunk redone elsewhere."""
    sync_timeout_s: float = Field(300.0, gt=0)
    """Longest wait for a worker to load published weights and answer with the canary's log-probs."""
