"""DeepSeek-V2, V2-Lite (2405.04434 §2) and Coder-V2 (2406.11931 §3): MLA, softmax router, experts in groups or not."""

from __future__ import annotations

from collections.abc import Iterator

from policies.families.checks import mla, only
from policies.families.family import ConfigJson, Family, Fields

GREEDY, GROUPS = "greedy", "group_limited_greedy"


def yarn(mscale: float) -> Fields:
    """Return V2's and V3's YaRN with an original context of 32 tokens instead of 4,096."""
    return {
        "rope_type": "yarn",
        "rope_theta": 10000.0,
        "factor": 40.0,
        "beta_fast": 32,
        "beta_slow": 1,
        "mscale": mscale,
        "mscale_all_dim": mscale,
        "original_max_position_embeddings": 32,
    }


TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "q_lora_rank": None,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "max_position_embeddings": 1024,
}
"""Sizes of the tiny presets of V2 and V3."""
MINI = {
    **TINY,
    "moe_intermediate_size": 32,
    "n_routed_experts": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "max_position_embeddings": 1280,
}
"""Sizes of the mini presets, which have every published switch."""
_LITE = {
    **MINI,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "topk_method": GREEDY,
    "scoring_func": "softmax",
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "rope_parameters": yarn(mscale=0.707),
}


def problems(config: ConfigJson) -> Iterator[str]:
    """Yield what transformers and vLLM would not compute alike."""
    yield from mla(config)
    if config.get("num_experts_per_tok") is None:
        yield "num_experts_per_tok is missing, and it has no default"
    yield from only(config, "scoring_func", ("softmax",), "transformers' DeepSeek-V2 scores by softmax alone")
    yield from only(config, "topk_method", (GREEDY, GROUPS), "transformers' DeepSeek-V2 has no other choice")
    yield from only(
        config,
        "norm_topk_prob",
        (False,),
        "transformers' DeepSeek-V2 never normalises the weights of the chosen",
    )
    yield from only(config, "mlp_bias", (False,), "vLLM's experts have no bias")
    if config.get("topk_method") == GROUPS and not (config.get("n_group") and config.get("topk_group")):
        yield f"topk_method = {GROUPS!r} needs n_group and topk_group"


def engine_overrides(config: ConfigJson) -> Fields:
    """Return one group for a greedy choice: vLLM ignores `topk_method` and asks `n_group` alone, which must be set."""
    limited = config.get("topk_method") == GROUPS
    return {"scoring_func": "softmax"} | ({} if limited else {"n_group": 1, "topk_group": 1})


FAMILY = Family(
    name="deepseek_v2",
    architecture="DeepseekV2ForCausalLM",
    attention="mla",
    mlp_bias=True,
    router="softmax",
    gguf="DEEPSEEK2",
    problems=problems,
    engine_overrides=engine_overrides,
    presets={
        "tiny-v2": {
            **TINY,
            "topk_method": GREEDY,
            "scoring_func": "softmax",
            "norm_topk_prob": False,
        },
        # Every switch of the config.json of V2, and of V2-Lite, only sizes smaller.
        "mini-v2": {
            **MINI,
            "q_lora_rank": 48,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "topk_method": GROUPS,
            "n_group": 8,
            "topk_group": 3,
            "scoring_func": "softmax",
            "norm_topk_prob": False,
            "routed_scaling_factor": 16.0,
            "rope_parameters": yarn(mscale=0.707),
        },
        "mini-v2-lite": _LITE,
        # Coder-V2-Lite is V2-Lite; what differs is its tokenizer, with tokens for infilling.
        "mini-coder-v2": _LITE,
    },
)
