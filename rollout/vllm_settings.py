"""With which settings vLLM starts. No import of vLLM: what the environment says must be said before that.

One code path for CPU and GPU; what only a CPU needs is added for a CPU alone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rollout.config import EngineConfig
from rollout.errors import RolloutError

CPU_KV_CACHE_GIB = 1.0
CPU_BLOCK_SIZE = 32
"""Tokens per block of keys and values. Samples of a group share full blocks of their prompt; vLLM's 128 would
leave most prompts unshared. The CPU kernel wants a multiple of 32."""
CPU_COMPILATION = {"custom_ops": ["all", "-rotary_embedding"]}
"""Trap: vLLM 0.32.0's CPU kernel for rotary embeddings is wrong for the 3-D, strided queries of DeepSeek
V2/V3, and in eager mode it is the default. Its own PyTorch formula is right and costs little."""
CPU_SCHEDULER = {"enable_chunked_prefill": False}
"""Trap: when a prompt is computed in two parts, vLLM takes back what a seeded sample drew after the first
part, which a CPU generator cannot do: the step raises. Whole prompts only, then; a forward pass must hold the
longest."""
CPU_MLA_BACKEND = "CPU_MLA"
"""Trap: on a CPU with AMX tiles vLLM 0.32.0 takes kernels for MLA that know bfloat16 alone, so a float32 engine
cannot start; a bfloat16 one starts, and fails at its first new weights. Policies without MLA do not look at
this."""
MLA_KERNEL_DIMENSIONS = (512, 64)
"""(kv_lora_rank, qk_rope_head_dim) that vLLM's MLA kernels are built for."""


def prepare_process(model_dir: Path, config: EngineConfig) -> None:
    """Everything that vLLM reads from the environment; to be called before vLLM is imported."""
    # The engine in this process: starts in 2 s instead of 20, and is stepped by us.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if needs_plain_attention(model_dir):
        os.environ["VLLM_MLA_DISABLE"] = "1"
    else:
        os.environ.pop("VLLM_MLA_DISABLE", None)
    if config.threads is not None:
        import torch

        # Both: torch has loaded its OpenMP library already, vLLM's kernels may bring another.
        os.environ["OMP_NUM_THREADS"] = str(config.threads)
        torch.set_num_threads(config.threads)


def engine_args(model_dir: Path, config: EngineConfig, on_cpu: bool) -> dict[str, Any]:
    """Arguments of `vllm.EngineArgs`."""
    context = config.max_model_len or context_length(model_dir)
    kv_cache_gib = config.kv_cache_gib or (CPU_KV_CACHE_GIB if on_cpu else None)
    common: dict[str, Any] = {
        "model": str(model_dir),
        "skip_tokenizer_init": True,
        "dtype": config.dtype,
        "seed": 0,
        "max_model_len": context,
        "max_num_seqs": config.max_sequences,
        "max_num_batched_tokens": config.max_batched_tokens,
        "kv_cache_memory_bytes": None if kv_cache_gib is None else int(kv_cache_gib * 2**30),
        "tensor_parallel_size": config.tensor_parallel,
        "enforce_eager": on_cpu if config.enforce_eager is None else config.enforce_eager,
        # Under the distribution that was sampled from: temperature and top-p applied.
        "logprobs_mode": "processed_logprobs",
        # Nothing from the folder's generation_config.json: the chunk says how to sample.
        "generation_config": "vllm",
        # It batches by what has finished in time, and time is not reproducible.
        "async_scheduling": False,
        "worker_extension_cls": "rollout.vllm_worker.WorkerExtension",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if not on_cpu:
        return common | {"gpu_memory_utilization": config.gpu_memory_share}
    return common | {
        "block_size": CPU_BLOCK_SIZE,
        "attention_backend": CPU_MLA_BACKEND,
        "compilation_config": dict(CPU_COMPILATION),
        **CPU_SCHEDULER,
        "max_num_batched_tokens": max(config.max_batched_tokens, context),
    }


def needs_plain_attention(model_dir: Path) -> bool:
    """True for an MLA policy of other dimensions than vLLM's MLA kernels take. vLLM then expands the latent
    and runs plain attention: the same function of the same weights, with a larger cache."""
    config = read_config(model_dir)
    rank = config.get("kv_lora_rank")
    return rank is not None and (rank, config.get("qk_rope_head_dim")) != MLA_KERNEL_DIMENSIONS


def context_length(model_dir: Path) -> int:
    """The policy's own context, in tokens."""
    config = read_config(model_dir)
    length = config.get("max_position_embeddings")
    length = length or config.get("text_config", {}).get("max_position_embeddings")
    if length is None:
        raise RolloutError(
            f"{model_dir}/config.json names no max_position_embeddings: set engine.max_model_len"
        )
    return int(length)


def read_config(model_dir: Path) -> dict[str, Any]:
    """config.json of a model folder."""
    try:
        return json.loads((model_dir / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise RolloutError(f"the engine cannot start on {model_dir}: {error}") from error
