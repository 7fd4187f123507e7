"""Checks of a config.json that several families share. Each yields a line that names key, value and reason.

Written for transformers 5.19 and vLLM 0.32.0. What they compute alike is proven by tests/rollout/test_engine.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any  # numbers of a config.json, before they are checked

from policies.families.family import ConfigJson, Fields

PLAIN_ROPE = ("default", "linear", "llama3", "yarn")
"""Rotary embeddings of the dense families. "dynamic" and "longrope" depend on the length of a batch."""
MLA_ROPE = ("default", "yarn")


def only(config: ConfigJson, key: str, allowed: tuple[object, ...], why: str) -> Iterator[str]:
    """Yield a line if the config has the key with a value that is not allowed; a missing key or null is."""
    value = config.get(key)
    if value is not None and value not in allowed:
        names = " or ".join(repr(item) for item in allowed)
        yield f"{key} = {value!r}: {why}; supported is {names}"


def dense(config: ConfigJson) -> Iterator[str]:
    """Check a Llama-like policy: full attention in every layer, gated SiLU, a rotary embedding of `PLAIN_ROPE`."""
    yield from only(config, "hidden_act", ("silu",), "vLLM has no other activation for this family")
    yield from only(
        config, "use_sliding_window", (False,), "the learner's packed attention has no sliding window"
    )
    kinds = sorted({str(kind) for kind in config.get("layer_types") or ()} - {"full_attention"})
    if kinds:
        yield f"layer_types has {', '.join(kinds)}: the learner's packed attention is full attention alone"
    yield from rope(config, PLAIN_ROPE)


def mla(config: ConfigJson) -> Iterator[str]:
    """Check latent attention and the experts of DeepSeek V2 and V3."""
    yield from only(config, "hidden_act", ("silu",), "vLLM has no other activation for this family")
    yield from only(config, "attention_bias", (False,), "vLLM's latent attention has no bias")
    yield from only(
        config,
        "rms_norm_eps",
        (1e-6,),
        "transformers and the released code norm latents with 1e-6, vLLM with this",
    )
    yield from only(config, "moe_layer_freq", (1,), "transformers puts experts into every layer")
    heads = config.get("num_attention_heads")
    yield from only(config, "num_key_value_heads", (heads,), "all heads share one latent")
    yield from only(config, "ep_size", (1,), "a checkpoint holds all experts")
    query = sum(int(config.get(key) or 0) for key in ("qk_nope_head_dim", "qk_rope_head_dim"))
    if int(config.get("v_head_dim") or 0) > query > 0:
        yield f"v_head_dim = {config['v_head_dim']} is wider than a query head of {query}: vLLM would cut the values"
    yield from rope(config, MLA_ROPE)
    yield from _mla_yarn(config)
    yield from experts(config)


def experts(config: ConfigJson) -> Iterator[str]:
    """Check the numbers of experts, of those chosen, and of the groups that they are chosen from."""
    count, chosen = config.get("n_routed_experts"), config.get("num_experts_per_tok")
    for key in ("n_routed_experts", "num_experts_per_tok", "n_shared_experts"):
        value = config.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield f"{key} = {value!r}: expected a whole number of 1 or more"
            return
    if not isinstance(count, int) or not isinstance(chosen, int):
        return  # the family's own check asks for them
    limited = config.get("topk_method", "noaux_tc") != "greedy"
    groups = (config.get("n_group") or 1) if limited else 1
    kept = (config.get("topk_group") or 1) if limited else 1
    if count % groups:
        yield f"n_routed_experts = {count} is no multiple of n_group = {groups}"
    elif not 1 <= kept <= groups:
        yield f"topk_group = {kept}: expected 1 to n_group = {groups}"
    elif chosen > kept * (count // groups):
        yield f"num_experts_per_tok = {chosen}: topk_group = {kept} groups hold {kept * (count // groups)} experts"


def rope_of(config: ConfigJson) -> Fields:
    """Return the rotary embedding of a config of either style: rope_theta with rope_scaling, or rope_parameters."""
    given = config.get("rope_scaling") or config.get("rope_parameters")
    found = dict(given) if isinstance(given, dict) else {}
    found["rope_type"] = found.get("rope_type", found.pop("type", "default"))
    if config.get("rope_theta") is not None:
        found.setdefault("rope_theta", config["rope_theta"])
    return found


def rope(config: ConfigJson, kinds: tuple[str, ...]) -> Iterator[str]:
    """Check the type of the rotary embedding, and that YaRN says what it stretches."""
    for key in ("rope_scaling", "rope_parameters"):
        if not isinstance(config.get(key) or {}, dict):
            yield f"{key} = {config[key]!r}: expected an object"
            return
    found = rope_of(config)
    kind = found["rope_type"]
    if kind not in kinds:
        yield f"rope type {kind!r}: learner and engine compute {', '.join(kinds)} alike"
    elif kind == "yarn":
        original: Any = found.get("original_max_position_embeddings")
        factor: Any = found.get("factor")
        if not _is_number(original):
            yield "rope_scaling has no original_max_position_embeddings: the length that YaRN stretches"
        elif not _is_number(factor):
            yield f"rope_scaling.factor = {factor!r}: expected a number"
        elif (length := config.get("max_position_embeddings") or 0) > original * factor:
            yield (
                f"max_position_embeddings = {length:,} is longer than factor × original_max_position_embeddings = "
                f"{original * factor:,.0f}, where vLLM's table of rotations ends"
            )


def _mla_yarn(config: ConfigJson) -> Iterator[str]:
    found = rope_of(config)
    if found["rope_type"] != "yarn":
        return
    if found.get("attention_factor") is not None:
        yield (
            f"rope_scaling.attention_factor = {found['attention_factor']!r}: vLLM ignores it for this family, or drops "
            "the scale of the softmax; leave it out"
        )
    yield from only(found, "truncate", (True,), "vLLM rounds YaRN's range for this family")
    scale, all_dim = found.get("mscale"), found.get("mscale_all_dim")
    if not all_dim and scale not in (None, 1):
        yield (
            f"rope_scaling.mscale = {scale!r} without mscale_all_dim: transformers scales the rotations by "
            "0.1 ln s + 1, vLLM and the released code by 0.1 · mscale · ln s + 1"
        )
    elif all_dim and not scale:
        yield (
            f"rope_scaling.mscale_all_dim = {all_dim!r} without mscale: transformers scales the rotations by "
            "0.1 ln s + 1, vLLM and the released code divide that by 0.1 · mscale_all_dim · ln s + 1"
        )


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )
