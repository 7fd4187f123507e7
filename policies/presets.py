"""Tiny policies of every family, for tests, the demo and runs on two cores; new models from any config.

    tiny_config("tiny-v3", vocab_size=64, eos_token_id=1)     hidden 64, 3 layers, about 0.2 M parameters
    new_policy(config, seed=0, weight_std=0.02)

The V3 shapes follow DeepSeek-V3 (2412.19437 §2.1): MLA, sigmoid router with correction bias, shared and
routed experts.
"""

from __future__ import annotations

from typing import Any  # of transformers' configs and their fields

import torch
from torch import nn

from policies.attention import NAME as ATTENTION
from policies.attention import register
from policies.json_types import JsonDict
from policies.model import HfConfig
from policies.router import route_in_float32

_MOE = {
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
_V3 = {
    **_MOE,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    # transformers' config class has no such fields but keeps them in config.json; vLLM creates the correction bias
    # only for these values.
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    # transformers' default is 1, as in V3, but its model has no such layer (policies/deepseek_mtp.py has).
    "num_nextn_predict_layers": 0,
}
_DENSE = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    # Heads are 32 wide, the least that vLLM's attention on a CPU supports.
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
}

_PRESETS: dict[str, tuple[str, JsonDict]] = {
    "tiny-v3": ("deepseek_v3", _V3),
    # The only shape that vLLM's MLA kernel supports on a CPU: latent 512, rotary 64.
    "tiny-v3-mla512": (
        "deepseek_v3",
        {**_V3, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 32},
    ),
    # With one layer of multi-token prediction, like V3.
    "tiny-v3-mtp": ("deepseek_v3", {**_V3, "num_nextn_predict_layers": 1}),
    "tiny-v2": (
        "deepseek_v2",
        {**_MOE, "topk_method": "greedy", "scoring_func": "softmax", "norm_topk_prob": False},
    ),
    "tiny-qwen2": ("qwen2", {**_DENSE, "tie_word_embeddings": True}),
    "tiny-qwen2-untied": ("qwen2", {**_DENSE, "tie_word_embeddings": False}),
    "tiny-qwen3": ("qwen3", {**_DENSE, "head_dim": 32, "tie_word_embeddings": True}),
    "tiny-qwen3-untied": ("qwen3", {**_DENSE, "head_dim": 32, "tie_word_embeddings": False}),
    "tiny-llama": ("llama", {**_DENSE, "tie_word_embeddings": False}),
    "tiny-llama-tied": ("llama", {**_DENSE, "tie_word_embeddings": True}),
}

PRESETS: tuple[str, ...] = tuple(_PRESETS)
"""Names of all presets."""


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

    if preset not in _PRESETS:
        raise ValueError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    model_type, fields = _PRESETS[preset]
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
    config.initializer_range = weight_std
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = make(
            config, dtype=torch.float32, attn_implementation=ATTENTION, experts_implementation="eager"
        )
    route_in_float32(model)
    return model.eval()
