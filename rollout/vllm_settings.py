"""Settings that vLLM starts with. vLLM is not imported here: its environment variables must be set before.

CPU and GPU share one code path; settings that only a CPU needs are added on a CPU alone.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from policies.json_types import JsonDict
from rollout.config import SHARE_ALONE, EngineConfig
from rollout.engine_limits import MLA_KERNEL_DIMENSIONS, config_overrides, cpu_refusal, draft_refusal
from rollout.errors import RolloutError
from rollout.parts import ALONE, EnginePart, launcher_environment, parallel_args

CPU_KV_CACHE_GIB = 1.0
CPU_BLOCK_SIZE = 32
"""Tokens per block of keys and values. Samples of a group share the full blocks of their prompt; with vLLM's default of
128 most prompts would not be shared. The CPU kernel needs a multiple of 32."""
CPU_COMPILATION = {"custom_ops": ["all", "-rotary_embedding"]}
"""Workaround: vLLM 0.32.0's CPU kernel for rotary embeddings, the default in eager mode, is wrong for the 3-D, strided
queries of DeepSeek V2/V3. vLLM's PyTorch implementation is right and costs little."""
CPU_SCHEDULER = {"enable_chunked_prefill": False}
"""Workaround: when a prompt is computed in two parts, vLLM resets the generator of a seeded sample after the first
part, which a CPU generator does not support, so the step raises. Prompts are computed whole instead, and a forward pass
must hold the longest one."""
CPU_MLA_BACKEND = "CPU_MLA"
"""Workaround: on a CPU with AMX tiles vLLM 0.32.0 chooses MLA kernels that support bfloat16 only. A float32 engine
cannot start with them; a bfloat16 engine starts and fails when it loads new weights. Policies without MLA ignore it."""


def prepare_process(
    model_dir: Path, config: EngineConfig, part: EnginePart = ALONE, rendezvous: str | None = None
) -> None:
    """Set the environment variables that vLLM reads; call this before vLLM is imported.

    Args:
        model_dir, config: see `VllmEngine`.
        part, rendezvous: which process of the engine this is; see `launcher_environment`.
    """
    os.environ.update(launcher_environment(part, rendezvous))
    # The engine runs in this process: it starts in 2 s instead of 20, and VllmEngine steps it.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if needs_plain_attention(model_dir):
        os.environ["VLLM_MLA_DISABLE"] = "1"
    else:
        os.environ.pop("VLLM_MLA_DISABLE", None)
    if config.threads is not None:
        import torch

        # Both are needed: torch has loaded its OpenMP library already, and vLLM's kernels may load another.
        os.environ["OMP_NUM_THREADS"] = str(config.threads)
        torch.set_num_threads(config.threads)


def engine_args(model_dir: Path, config: EngineConfig, on_cpu: bool, takes_turns: bool = False) -> JsonDict:
    """Return the arguments of `vllm.EngineArgs` for a rollout engine.

    Args:
        model_dir, config: see `VllmEngine`.
        on_cpu: vLLM was built for a CPU.
        takes_turns: the engine frees its memory between phases; vLLM must allocate it for that on a GPU.
    """
    return model_args(model_dir, config, on_cpu) | {
        "enable_sleep_mode": takes_turns and not on_cpu,
        "skip_tokenizer_init": True,
        # Log-probs under the distribution that was sampled from: temperature and top-p applied.
        "logprobs_mode": "processed_logprobs",
        # Ignores the folder's generation_config.json: the chunk defines the sampling.
        "generation_config": "vllm",
        # Its batches depend on timing, so its results would not be reproducible.
        "async_scheduling": False,
        "disable_log_stats": True,
    }


def model_args(model_dir: Path, config: EngineConfig, on_cpu: bool) -> JsonDict:
    """Return what every use of vLLM needs to compute what the learner computes: `grpo serve` too.

    Sampling defaults are vLLM's own: log-probs at temperature 1, and the folder's generation_config.json.
    """
    if on_cpu:
        check_cpu_engine(model_dir, config)
    refusal = draft_refusal(read_config(model_dir), config.mtp_tokens)
    if refusal is not None:
        raise RolloutError(f"the engine cannot start on {model_dir}: {refusal}")
    context = config.max_model_len or context_length(model_dir)
    kv_cache_gib = config.kv_cache_gib or (CPU_KV_CACHE_GIB if on_cpu else None)
    common: JsonDict = {
        "model": str(model_dir),
        "dtype": config.dtype,
        "seed": 0,
        "max_model_len": context,
        "max_num_seqs": config.max_sequences,
        "max_num_batched_tokens": config.max_batched_tokens,
        "kv_cache_memory_bytes": None if kv_cache_gib is None else int(kv_cache_gib * 2**30),
        **parallel_args(config.tensor_parallel, config.expert_parallel),
        "enforce_eager": on_cpu if config.enforce_eager is None else config.enforce_eager,
        # Its import puts the routers into float32, as the learner's are.
        "worker_extension_cls": "rollout.vllm_worker.WorkerExtension",
        "use_tqdm_on_load": False,
        "hf_overrides": config_overrides(read_config(model_dir)),
        # Modelling code of a checkpoint never runs.
        "trust_remote_code": False,
    }
    if config.mtp_tokens:
        # Never run on hardware: the CPU refuses it above.
        common["speculative_config"] = {"method": "mtp", "num_speculative_tokens": config.mtp_tokens}
    if not on_cpu:
        return common | {"gpu_memory_utilization": config.gpu_memory_share or SHARE_ALONE}
    return common | {
        "block_size": CPU_BLOCK_SIZE,
        "attention_backend": CPU_MLA_BACKEND,
        "compilation_config": dict(CPU_COMPILATION),
        **CPU_SCHEDULER,
        "max_num_batched_tokens": max(config.max_batched_tokens, context),
    }


def check_cpu_engine(model_dir: Path, config: EngineConfig) -> None:
    """Check that an engine on a CPU can compute this policy with these settings.

    Raises:
        RolloutError: it cannot; says why.
    """
    refusal = cpu_refusal(read_config(model_dir), config.expert_parallel, config.mtp_tokens)
    if refusal is not None:
        raise RolloutError(f"the engine cannot start on {model_dir}: {refusal}")


def needs_plain_attention(model_dir: Path) -> bool:
    """Return True for an MLA policy whose dimensions vLLM's MLA kernels do not support.

    vLLM then expands the latent and runs plain attention: the same function of the same weights, with a larger cache.
    """
    config = read_config(model_dir)
    rank = config.get("kv_lora_rank")
    return rank is not None and (rank, config.get("qk_rope_head_dim")) != MLA_KERNEL_DIMENSIONS


def hidden_size(model_dir: Path) -> int:
    """Return the width of a policy's residual stream."""
    return int(read_config(model_dir)["hidden_size"])


def context_length(model_dir: Path) -> int:
    """Return the policy's context length, in tokens."""
    config = read_config(model_dir)
    length = config.get("max_position_embeddings")
    length = length or config.get("text_config", {}).get("max_position_embeddings")
    if length is None:
        raise RolloutError(
            f"{model_dir}/config.json names no max_position_embeddings: set engine.max_model_len"
        )
    return int(length)


def read_config(model_dir: Path) -> JsonDict:
    """Return the content of a model folder's config.json."""
    try:
        config: JsonDict = json.loads((model_dir / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise RolloutError(f"the engine cannot start on {model_dir}: {error}") from error
    return config
