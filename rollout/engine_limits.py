"""What vLLM's CPU kernels refuse, known before an engine starts. Neither vLLM nor torch is imported.

cpu_refusal(config)      None, or "heads of 40 …; vLLM's CPU attention has kernels for 32, 64, …"
"""

from __future__ import annotations

from policies.families.registry import FAMILIES
from policies.json_types import JsonDict, JsonMapping

CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""`CPUAttentionBackend.get_supported_head_sizes()` of the locked vLLM; a test compares them."""
MLA_KERNEL_DIMENSIONS = (512, 64)
"""(kv_lora_rank, qk_rope_head_dim) that vLLM's MLA kernels are built for."""


def config_overrides(config: JsonMapping) -> JsonDict:
    """Return the keys of a policy's config.json that vLLM must read otherwise, to compute what transformers does.

    Args:
        config: content of its config.json; of a family that the learner does not know nothing is changed.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    return {} if family is None else family.engine_overrides(config)


def cpu_refusal(config: JsonMapping, expert_parallel: bool = False, mtp_tokens: int = 0) -> str | None:
    """Return why an engine on a CPU cannot compute this policy; None if it can.

    Args:
        config: content of its config.json.
        expert_parallel, mtp_tokens: of `[engine]`.
    """
    if mtp_tokens:
        return (
            f"engine.mtp_tokens = {mtp_tokens}: vLLM's speculative decoding on a CPU gives wrong log-probs, uniform or "
            "nan, from the second token on; set it to 0, or take a GPU"
        )
    if expert_parallel:
        return "vLLM's CPU kernels crash with engine.expert_parallel; leave it out, or take GPUs"
    width = attention_width(config)
    if width is None or width in CPU_HEAD_SIZES:
        return None
    return (
        f"its attention heads are {width} wide, and vLLM's CPU attention has kernels for "
        f"{', '.join(map(str, CPU_HEAD_SIZES))}; take a policy with one of these widths, or a GPU"
    )


def attention_width(config: JsonMapping) -> int | None:
    """Return the head width that the engine's attention kernel gets; None for MLA kernels, or if the config is silent.

    An MLA policy whose dimensions the MLA kernels do not take runs with the latent expanded: its heads are those of the
    queries.
    """
    config = config.get("text_config", config)
    rank, rope = config.get("kv_lora_rank"), config.get("qk_rope_head_dim")
    if rank is not None and rope is not None:
        if (rank, rope) == MLA_KERNEL_DIMENSIONS or config.get("qk_nope_head_dim") is None:
            return None
        return int(config["qk_nope_head_dim"]) + int(rope)
    if config.get("head_dim"):
        return int(config["head_dim"])
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return int(hidden) // int(heads) if hidden and heads else None


def draft_refusal(config: JsonMapping, mtp_tokens: int) -> str | None:
    """Return why the policy cannot draft tokens for speculative decoding; None if it can, or is not asked to."""
    if not mtp_tokens or config.get("num_nextn_predict_layers"):
        return None
    return (
        f"engine.mtp_tokens = {mtp_tokens}, but the policy has no layers of multi-token prediction "
        "(num_nextn_predict_layers in its config.json); set it to 0"
    )


def split_refusal(config: JsonMapping, tensor_parallel: int, expert_parallel: bool) -> str | None:
    """Return why this policy cannot be split over so many GPUs; None if it can.

    Args:
        config: content of its config.json.
        tensor_parallel, expert_parallel: of `[engine]`.
    """
    config = config.get("text_config", config)
    experts = int(config.get("n_routed_experts") or config.get("num_experts") or 0)
    if expert_parallel and not experts:
        return "engine.expert_parallel divides experts, and the policy has none; leave it out"
    heads = int(config.get("num_attention_heads") or 0)
    # MLA's latent has no key-value heads; with fewer of them than GPUs vLLM keeps copies.
    kv_heads = heads if config.get("kv_lora_rank") else int(config.get("num_key_value_heads") or heads)
    widths = {"attention heads": heads, "an intermediate_size": int(config.get("intermediate_size") or 0)}
    if experts and not expert_parallel:
        widths["a moe_intermediate_size"] = int(config.get("moe_intermediate_size") or 0)
    for name, width in widths.items():
        if width % tensor_parallel:
            return _cannot_split(tensor_parallel, f"{name} of {width:,}", width)
    if kv_heads and max(kv_heads, tensor_parallel) % min(kv_heads, tensor_parallel):
        return _cannot_split(tensor_parallel, f"key-value heads of {kv_heads}", kv_heads)
    return None


def _cannot_split(tensor_parallel: int, what: str, width: int) -> str:
    divisors = [n for n in range(1, tensor_parallel) if width % n == 0]
    return (
        f"engine.tensor_parallel = {tensor_parallel} does not divide the policy's {what}; set it to {divisors[-1]}, or "
        "to another divisor"
    )
