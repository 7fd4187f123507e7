"""Small policies of every family, for tests, the demo and runs on two cores; new models from any config.

    tiny_config("tiny-v3", vocab_size=64, eos_token_id=1)     hidden 64, 3 layers, about 0.2 M parameters
    new_policy(config, seed=0, weight_std=0.02)

The shapes stand in the families' files (policies/families). A "tiny" one has the family's structure with the simplest
switches, a "mini" one every switch of the published config.json with smaller sizes.
"""

from __future__ import annotations

from typing import Any  # of transformers' configs and their fields

import torch
from torch import nn

from policies.attention import NAME as ATTENTION
from policies.attention import register
from policies.experts import NAME as EXPERTS
from policies.experts import register as register_experts
from policies.families.registry import PRESETS
from policies.model import HfConfig
from policies.router import route_in_float32


def tiny_config(preset: str, vocab_size: int, **special_ids: object) -> HfConfig:
    """Return the transformers config of a preset.

    Args:
        preset: one of `PRESETS`.
        vocab_size: rows of embedding and head.
        special_ids: bos_token_id, eos_token_id, pad_token_id, or any other field of the config.
    Raises:
        ValueError: the preset is unknown.
    """
    from transformers import AutoConfig

    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    model_type, fields = PRESETS[preset]
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    return AutoConfig.for_model(model_type, **{**fields, "vocab_size": vocab_size, **ids, **special_ids})


def new_policy(config: HfConfig, seed: int, weight_std: float = 0.02) -> nn.Module:
    """Return a float32 model in eval mode with normal(0, weight_std) weights that depend on `seed` alone."""
    make: Any
    if getattr(config, "num_nextn_predict_layers", 0):
        from policies.deepseek_mtp import DeepseekV3ForCausalLM

        make = DeepseekV3ForCausalLM._from_config
    else:
        from transformers import AutoModelForCausalLM

        make = AutoModelForCausalLM.from_config
    register()
    register_experts()
    config.initializer_range = weight_std
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = make(
            config, dtype=torch.float32, attn_implementation=ATTENTION, experts_implementation=EXPERTS
        )
    route_in_float32(model)
    return model.eval()
