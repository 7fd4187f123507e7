"""Why a config.json is not supported, in words that say what is missing. Neither torch nor transformers is imported.

refusal(config)      None, or "architectures = ['DeepseekV32ForCausalLM'] is not supported: sparse attention …"
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from policies.families.registry import BY_ARCHITECTURE, FAMILIES
from policies.json_types import JsonMapping

FEATURES: tuple[tuple[Callable[[JsonMapping], object], str], ...] = (
    (
        lambda c: c.get("index_topk"),
        "sparse attention (index_topk): an indexer chooses the keys of each query; the learner's packed attention "
        "reads all keys, and the indexer's own loss is missing",
    ),
    (
        lambda c: c.get("compress_ratios") or c.get("compress_rates"),
        "compressed attention (compress_ratios): keys that stand for several tokens; packed prompts have one per token",
    ),
    (
        lambda c: c.get("hc_mult"),
        "hyper-connections (hc_mult): several residual streams; memory plan and sharding know one",
    ),
    (
        lambda c: c.get("num_hash_layers") or "hash_moe" in (c.get("mlp_layer_types") or ()),
        "hash-routed experts (num_hash_layers): policies/router.py counts and balances learnt routers alone",
    ),
    (
        lambda c: c.get("scoring_func") not in (None, "softmax", "sigmoid"),
        "a router score (scoring_func) that is neither softmax nor sigmoid",
    ),
    (
        lambda c: (
            any("linear" in str(kind) for kind in c.get("layer_types") or ())
            or c.get("full_attention_interval")
            or c.get("linear_num_value_heads")
            or c.get("linear_attn_config")
        ),
        "linear attention: its state would have to go from a shared prompt to each completion",
    ),
    (
        lambda c: any(key.startswith(("mamba_", "ssm_")) for key in c) or c.get("state_size"),
        "state-space layers: their state would have to go from a shared prompt to each completion",
    ),
    (
        lambda c: (
            any("sliding" in str(kind) for kind in c.get("layer_types") or ())
            or (c.get("sliding_window") and c.get("use_sliding_window") is not False)
        ),
        "sliding-window attention: the learner's packed attention is full attention alone",
    ),
    (
        lambda c: c.get("vision_config") or c.get("audio_config"),
        "images or sound: prompts, packing and rewards are text alone",
    ),
    (
        lambda c: c.get("num_experts") or c.get("num_local_experts"),
        "experts of another layout than DeepSeek's: names of their tensors, float32 routing and counts",
    ),
)
"""What a config says it needs, and what is missing here for it."""


def refusal(config: JsonMapping) -> str | None:
    """Return why the policy of this config.json cannot be used; None if it can."""
    found = config.get("architectures")
    name = found[0] if isinstance(found, list) and found else found
    family = BY_ARCHITECTURE.get(name) if isinstance(name, str) else None
    if family is None:
        return _unknown(found, config)
    if config.get("model_type") != family.name:
        return (
            f"model_type = {config.get('model_type')!r} with architectures = {found!r}: transformers chooses its code "
            f"by model_type, and supported is {family.name!r}"
        )
    try:
        problems = list(family.problems(config))
    except (TypeError, ValueError, AttributeError) as error:
        return f"a value of another type than {family.architecture} expects ({error})"
    return "; ".join(problems) if problems else None


def _unknown(found: object, config: JsonMapping) -> str:
    supported = f"supported are {', '.join(BY_ARCHITECTURE)}; docs/policies.md says how a family is added"
    kind = config.get("model_type")
    if not isinstance(kind, str) or not found or kind in FAMILIES:
        return f"architectures = {found!r} is not supported; {supported}"
    try:
        missing = [text for applies, text in FEATURES if applies(config)]
    except (TypeError, AttributeError) as error:
        missing = [f"values of types that are known here ({error})"]
    if not _has_modelling_code(kind):
        remote = ", and code of a repository (auto_map) is never run" if config.get("auto_map") else ""
        missing.append(f"modelling code: the installed transformers has none for {kind!r}{remote}")
    if not missing:
        missing.append(f"a family file for {kind!r}")
    return f"architectures = {found!r} is not supported, for want of {'; '.join(missing)}; {supported}"


def _has_modelling_code(model_type: str) -> bool:
    """Return True if the installed transformers has a folder for the model type; nothing is imported."""
    spec = find_spec("transformers")
    folders = spec.submodule_search_locations or () if spec is not None else ()
    return model_type.isidentifier() and any((Path(at) / "models" / model_type).is_dir() for at in folders)
