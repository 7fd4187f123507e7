"""DeepSeek-V3 and R1 (2412.19437 §2.1): MLA, sigmoid router with a correction bias, experts in groups, MTP."""

from __future__ import annotations

from collections.abc import Iterator

from policies.families.checks import mla, only
from policies.families.deepseek_v2 import MINI, TINY, yarn
from policies.families.family import ConfigJson, Family, Fields

_ROUTER = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}
_TINY = {
    **TINY,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    # transformers' config class has no such fields but keeps them in config.json.
    **_ROUTER,
    # transformers' default is 1, as in V3, but its model has no such layer (policies/deepseek_mtp.py has).
    "num_nextn_predict_layers": 0,
}


def problems(config: ConfigJson) -> Iterator[str]:
    """Yield what transformers and vLLM would not compute alike."""
    yield from mla({"n_group": 8, "topk_group": 4, **config})
    yield from only(config, "scoring_func", ("sigmoid",), "transformers' DeepSeek-V3 scores by sigmoid alone")
    yield from only(
        config,
        "topk_method",
        ("noaux_tc",),
        "transformers' DeepSeek-V3 chooses experts by biased scores alone",
    )
    yield from only(config, "rope_interleave", (True,), "vLLM rotates pairs of neighbours")
    groups, count = config.get("n_group", 8), config.get("n_routed_experts", 256)
    if groups and count and count // groups < 2:
        yield f"n_group = {groups}: a group of {count} experts needs two, whose scores rank it"


def engine_overrides(config: ConfigJson) -> Fields:
    """Return both: vLLM makes the correction bias and takes the sigmoid only if config.json says so."""
    return dict(_ROUTER)


FAMILY = Family(
    name="deepseek_v3",
    architecture="DeepseekV3ForCausalLM",
    attention="mla",
    router="sigmoid",
    gguf="DEEPSEEK2",
    problems=problems,
    engine_overrides=engine_overrides,
    presets={
        "tiny-v3": _TINY,
        # The only shape that vLLM's MLA kernel supports on a CPU: latent 512, rotary 64.
        "tiny-v3-mla512": {**_TINY, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 32},
        # With one layer of multi-token prediction, like V3.
        "tiny-v3-mtp": {**_TINY, "num_nextn_predict_layers": 1},
        # Every switch of V3's config.json, only sizes smaller.
        "mini-v3": {
            **MINI,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "q_lora_rank": 48,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "n_group": 8,
            "topk_group": 4,
            "norm_topk_prob": True,
            "routed_scaling_factor": 2.5,
            "rope_parameters": yarn(mscale=1.0),
            "num_nextn_predict_layers": 1,
            **_ROUTER,
        },
    },
)
