"""Finds the families: every module of this folder that sets `FAMILY`.

FAMILIES["deepseek_v3"]               by transformers' model_type
BY_ARCHITECTURE["DeepseekV3ForCausalLM"]
PRESETS["mini-v3"]                    the small shapes, by name: family and fields of the config
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

import policies.families
from policies.families.family import Family, Fields


def _find() -> dict[str, Family]:
    modules = (
        import_module(f"{policies.families.__name__}.{found.name}")
        for found in pkgutil.iter_modules(policies.families.__path__)
        if found.name != "registry"  # this module
    )
    families = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return {family.name: family for family in sorted(families, key=lambda family: family.name)}


FAMILIES: dict[str, Family] = _find()
"""By transformers' model_type."""
BY_ARCHITECTURE: dict[str, Family] = {family.architecture: family for family in FAMILIES.values()}
"""By the class name that config.json holds."""

PRESETS: dict[str, tuple[str, Fields]] = {
    name: (family.name, fields) for family in FAMILIES.values() for name, fields in family.presets.items()
}
"""Small policies of all families: model_type and fields of transformers' config, by preset.

A "tiny" one has the family's structure with the simplest switches, a "mini" one every switch of the published
config.json with smaller sizes.
"""


def family_of(model_type: object) -> Family:
    """Return the family of a config's `model_type`.

    Raises:
        ValueError: there is none; names those there are.
    """
    if model_type not in FAMILIES:
        raise ValueError(
            f"model_type = {model_type!r}: no family of that name; there are {', '.join(FAMILIES)}"
        )
    return FAMILIES[str(model_type)]
