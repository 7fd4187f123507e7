"""The `[engine]` section of a recipe. It imports pydantic alone, so a config is checked without loading vLLM.

[engine]
workers = 2
chunk_groups = 8
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from policies.settings import Identity, Operational, Settings

Transport = Literal["auto", "shared_memory", "object_store", "gloo"]


SHARE_ALONE = 0.9
"""engine.gpu_memory_share of an engine that has its GPU to itself, where the recipe is silent."""
SHARE_BESIDE_LEARNER = 0.45
"""The same on a rank's GPU: the rank's weights and optimizer state stay beside the engine."""


class EngineConfig(Settings):
    """Number of rollout workers, their resources and their timeouts."""

    workers: Operational[int] = Field(1, ge=1)
    """Engines, one per Ray actor. On a CPU each needs cores of its own: two engines whose threads overlap are five
    times slower than one."""
    dtype: Identity[Literal["auto", "float32", "bfloat16"]] = "auto"
    """Type of the engine's weights and activations. "auto" is the learner's compute dtype."""
    threads: Operational[int | None] = Field(None, ge=1)
    """OpenMP threads per worker on a CPU; None: the node's cores / workers."""
    tensor_parallel: Operational[int] = Field(1, ge=1)
    """GPUs that one engine's weights are split over; it must divide the policy's attention heads. Each GPU has an actor
    of its own."""
    nodes: Operational[int] = Field(1, ge=1)
    """Nodes that one engine's GPUs are spread over in equal parts, for a policy that does not fit one node."""
    expert_parallel: Operational[bool] = False
    """Gives each of an engine's GPUs whole experts of a mixture-of-experts policy, instead of a slice of each."""
    mtp_tokens: Operational[int] = Field(0, ge=0, le=8)
    """Tokens that the engine drafts in each step with the policy's layers of multi-token prediction and then checks
    (V3 §5.4.3: 1); 0: none. On a GPU, where it was never run; on a CPU vLLM's result is wrong, so it is refused."""
    max_sequences: Operational[int] = Field(256, ge=1)
    """Sequences that one engine decodes at the same time; the others of a chunk wait."""
    max_batched_tokens: Operational[int] = Field(8192, ge=16)
    """Prompt and completion tokens of one forward pass, at most."""
    max_model_len: Operational[int | None] = Field(None, ge=2)
    """Longest prompt + completion, in tokens, for which an engine keeps room; None: what the longest prompt and the
    largest length limit of the recipe need."""
    kv_cache_gib: Operational[float | None] = Field(None, gt=0)
    """GiB for keys and values per worker; None: 1 GiB on a CPU, on a GPU what `gpu_memory_share` leaves."""
    gpu_memory_share: Operational[float | None] = Field(None, gt=0, le=1)
    """Fraction of a GPU's memory that an engine takes (weights, activations, keys and values). None: 0.45 where it
    takes turns with a learner rank, which keeps its own weights and optimizer there; 0.9 alone. Read on a GPU only."""
    enforce_eager: Operational[bool | None] = None
    """False compiles the model and captures CUDA graphs. None does so on a GPU only: on a CPU compiling costs a minute
    at the start and gains little."""
    chunk_groups: Identity[int] = Field(16, ge=1)
    """Prompts per chunk, the unit of work and of retries. It changes batch composition and with it rounding, so it is
    part of a run's identity."""
    restart_limit: Operational[int] = Field(3, ge=0)
    """Restarts of dead or hanging rollout workers in a run, all workers together."""
    chunk_timeout_s: Operational[float] = Field(1800.0, gt=0)
    """A worker that has delivered nothing for so many seconds is killed, and its chunk is retried on another worker."""
    transport: Operational[Transport] = "auto"
    """How new weights reach the engines. "auto": shared memory on one node, Ray's object store on several; "gloo": TCP
    between learner and engines, for clusters whose object stores are small. docs/scale.md compares them."""
    sync_timeout_s: Operational[float] = Field(300.0, gt=0)
    """Longest wait, in seconds, for a worker to load published weights and to check the canary prompts."""

    @model_validator(mode="after")
    def _whole_parts(self) -> EngineConfig:
        if self.tensor_parallel % self.nodes:
            raise ValueError(
                f"tensor_parallel = {self.tensor_parallel} GPUs cannot be spread over nodes = {self.nodes} in equal "
                "parts; make it a multiple of nodes"
            )
        if self.expert_parallel and self.tensor_parallel == 1:
            raise ValueError(
                "expert_parallel divides the experts over the GPUs of an engine; set tensor_parallel above 1, or leave "
                "it out"
            )
        return self
