"""The keys of config.json as DeepSeek released them, and which weights of V3 the release holds in FP8.

transformers 5 writes `rope_parameters` and `dtype`; the released folders, transformers 4 and other engines have
`rope_theta`, `rope_scaling` with a `type`, and `torch_dtype`. transformers 5 reads both.
"""

from __future__ import annotations

import re

from policies.families.checks import rope_of
from policies.families.registry import FAMILIES
from policies.json_types import JsonDict, JsonMapping

QUANTISED = re.compile(
    r"model\.layers\.\d+\.(self_attn\.(q_proj|q_a_proj|q_b_proj|kv_a_proj_with_mqa|kv_b_proj|o_proj)"
    r"|mlp\.(experts\.\d+\.|shared_experts\.)?(gate_proj|up_proj|down_proj))\.weight"
)
"""Projections of attention, experts and dense layers. Embedding, head, routers, norms and the projection of
multi-token prediction stay in bfloat16, the routers' bias in float32 (V3 §3.3.1)."""
_OF_THIS_MACHINE = (
    "auto_map",
    "quantization_config",
    "_name_or_path",
    "rope_parameters",
    "rope_scaling",
    "dtype",
)


def released_config(config: JsonMapping, quantization: JsonDict | None = None) -> JsonDict:
    """Return a config.json in the released keys, without the names of modelling code (`auto_map`).

    Args:
        config: config.json in the keys of the release or of transformers 5.
        quantization: the new quantization_config; None for weights that are not quantised.
    """
    result = {key: value for key, value in config.items() if key not in _OF_THIS_MACHINE}
    family = FAMILIES.get(str(config.get("model_type")))
    is_mla = family is not None and family.attention == "mla"
    if is_mla:
        # Derived from the widths of queries; the released code has neither.
        result.pop("head_dim", None)
        result.pop("qk_head_dim", None)
    rope = rope_of(config)
    theta = rope.pop("rope_theta", None)
    if theta is not None:
        result["rope_theta"] = theta
    kind = rope.pop("rope_type")
    # DeepSeek's releases say `type`, Llama's `rope_type`, and readers of dense families look for one or the other.
    names = {"type": kind} if is_mla else {"type": kind, "rope_type": kind}
    result["rope_scaling"] = None if kind == "default" else {**names, **rope}
    if (dtype := config.get("torch_dtype") or config.get("dtype")) is not None:
        result["torch_dtype"] = dtype
    if quantization is not None:
        result["quantization_config"] = dict(quantization)
    return dict(sorted(result.items()))
