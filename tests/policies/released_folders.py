"""Synthetic folders with the config keys and tensor names that DeepSeek released, written without `policies`.

Sizes are small. The modelling code beside the weights, which `auto_map` names, raises and leaves a mark when it runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]
CODE = "raise RuntimeError('code of a checkpoint ran'); open('ran', 'w')\n"
_YARN = {
    "beta_fast": 32, "beta_slow": 1, "factor": 40, "original_max_position_embeddings": 32, "type": "yarn"
}  # fmt: skip
_COMMON = {
    "attention_bias": False, "attention_dropout": 0.0, "aux_loss_alpha": 0.001, "ep_size": 1, "hidden_act": "silu",
    "initializer_range": 0.02, "max_position_embeddings": 1280, "moe_layer_freq": 1, "num_attention_heads": 2,
    "num_key_value_heads": 2, "pretraining_tp": 1, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32,
    "kv_lora_rank": 32, "v_head_dim": 32, "rms_norm_eps": 1e-06, "rope_theta": 10000, "seq_aux": True,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True, "vocab_size": 96,
}  # fmt: skip


def _auto_map(version: str) -> dict[str, str]:
    return {
        "AutoConfig": f"configuration_deepseek.Deepseek{version}Config",
        "AutoModel": f"modeling_deepseek.Deepseek{version}Model",
        "AutoModelForCausalLM": f"modeling_deepseek.Deepseek{version}ForCausalLM",
    }


V3 = _COMMON | {
    "architectures": ["DeepseekV3ForCausalLM"], "auto_map": _auto_map("V3"), "model_type": "deepseek_v3",
    "bos_token_id": 0, "eos_token_id": 1, "first_k_dense_replace": 1, "hidden_size": 160, "intermediate_size": 192,
    "moe_intermediate_size": 32, "n_group": 8, "topk_group": 4, "n_routed_experts": 16, "n_shared_experts": 1,
    "norm_topk_prob": True, "num_experts_per_tok": 8, "num_hidden_layers": 2, "num_nextn_predict_layers": 1,
    "q_lora_rank": 48, "rope_scaling": {**_YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
    "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "transformers_version": "4.33.1", "aux_loss_alpha": 0.001,
}  # fmt: skip
V2 = _COMMON | {
    "architectures": ["DeepseekV2ForCausalLM"], "auto_map": _auto_map("V2"), "model_type": "deepseek_v2",
    "bos_token_id": 0, "eos_token_id": 1, "first_k_dense_replace": 1, "hidden_size": 64, "intermediate_size": 128,
    "moe_intermediate_size": 32, "n_group": 8, "topk_group": 3, "n_routed_experts": 16, "n_shared_experts": 2,
    "norm_topk_prob": False, "num_experts_per_tok": 6, "num_hidden_layers": 2, "q_lora_rank": 48,
    "rope_scaling": {**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707}, "routed_scaling_factor": 16.0,
    "scoring_func": "softmax", "topk_method": "group_limited_greedy", "transformers_version": "4.39.3",
}  # fmt: skip
LITE = V2 | {
    "n_group": 1, "topk_group": 1, "topk_method": "greedy", "q_lora_rank": None, "routed_scaling_factor": 1.0,
}  # fmt: skip
"""V2-Lite and Coder-V2-Lite, whose config.json have the same keys."""
CONFIGS = {"v3": V3, "v2": V2, "lite": LITE}


def shapes(c: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a release, main layers first, then those of multi-token prediction."""
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    nope, rope, value, rank = (
        c[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank")
    )
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for layer in range(c["num_hidden_layers"] + c.get("num_nextn_predict_layers", 0)):
        at = f"model.layers.{layer}"
        if layer >= c["num_hidden_layers"]:
            yield f"{at}.embed_tokens.weight", (c["vocab_size"], hidden)
            yield f"{at}.enorm.weight", (hidden,)
            yield f"{at}.hnorm.weight", (hidden,)
            yield f"{at}.eh_proj.weight", (hidden, 2 * hidden)
            yield f"{at}.shared_head.norm.weight", (hidden,)
            yield f"{at}.shared_head.head.weight", (c["vocab_size"], hidden)
        if c["q_lora_rank"]:
            yield f"{at}.self_attn.q_a_proj.weight", (c["q_lora_rank"], hidden)
            yield f"{at}.self_attn.q_a_layernorm.weight", (c["q_lora_rank"],)
            yield f"{at}.self_attn.q_b_proj.weight", (heads * (nope + rope), c["q_lora_rank"])
        else:
            yield f"{at}.self_attn.q_proj.weight", (heads * (nope + rope), hidden)
        yield f"{at}.self_attn.kv_a_proj_with_mqa.weight", (rank + rope, hidden)
        yield f"{at}.self_attn.kv_a_layernorm.weight", (rank,)
        yield f"{at}.self_attn.kv_b_proj.weight", (heads * (nope + value), rank)
        yield f"{at}.self_attn.o_proj.weight", (hidden, heads * value)
        if layer < c["first_k_dense_replace"]:
            yield from mlp(f"{at}.mlp", hidden, c["intermediate_size"])
        else:
            yield f"{at}.mlp.gate.weight", (c["n_routed_experts"], hidden)
            if c["topk_method"] == "noaux_tc":
                yield f"{at}.mlp.gate.e_score_correction_bias", (c["n_routed_experts"],)
            for expert in range(c["n_routed_experts"]):
                yield from mlp(f"{at}.mlp.experts.{expert}", hidden, c["moe_intermediate_size"])
            shared = c["n_shared_experts"] * c["moe_intermediate_size"]
            yield from mlp(f"{at}.mlp.shared_experts", hidden, shared)
        yield f"{at}.input_layernorm.weight", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (c["vocab_size"], hidden)


def mlp(at: str, hidden: int, inner: int) -> Iterator[tuple[str, tuple[int, int]]]:
    yield f"{at}.gate_proj.weight", (inner, hidden)
    yield f"{at}.up_proj.weight", (inner, hidden)
    yield f"{at}.down_proj.weight", (hidden, inner)


def random_tensors(config: dict[str, Any], seed: int = 0) -> Tensors:
    """Weights in bfloat16, the routers' bias in float32; the copies of embedding and head are copies."""
    generator = torch.Generator().manual_seed(seed)
    found: Tensors = {}
    for name, shape in shapes(config):
        drawn = torch.randn(shape, generator=generator)
        drawn = 1 + 0.3 * drawn if name.endswith("norm.weight") else 0.19 * drawn
        found[name] = drawn if name.endswith("correction_bias") else drawn.bfloat16()
    for name in found:
        if name.endswith((".embed_tokens.weight", ".shared_head.head.weight")):
            source = "model.embed_tokens.weight" if "embed" in name else "lm_head.weight"
            found[name] = found[source].clone()
    return found


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float8_e4m3fn with a float32 scale for each block of 128 x 128."""
    rows, columns = weight.shape
    scales = torch.zeros(math.ceil(rows / 128), math.ceil(columns / 128))
    values = torch.zeros(rows, columns, dtype=torch.float8_e4m3fn)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            block = weight[i * 128 : (i + 1) * 128, j * 128 : (j + 1) * 128].float()
            scales[i, j] = block.abs().max() / 448
            values[i * 128 : (i + 1) * 128, j * 128 : (j + 1) * 128] = (block / scales[i, j]).to(values.dtype)
    return values, scales


def in_fp8(tensors: Tensors) -> Tensors:
    """As V3 is released: projections in FP8 with `weight_scale_inv`, all else as it is."""
    found: Tensors = {}
    for name, tensor in tensors.items():
        plain = ("embed_tokens.weight", "head.weight", "norm.weight", "gate.weight", "bias", "eh_proj.weight")
        if name.endswith(plain):
            found[name] = tensor
        else:
            found[name], found[f"{name}_scale_inv"] = quantise(tensor)
    return found


def write(folder: Path, config: dict[str, Any], tensors: Tensors, *, files: int = 2) -> Path:
    """A released folder: config, files of weights with their index, and modelling code that must not run."""
    folder.mkdir(parents=True)
    if any(name.endswith("_scale_inv") for name in tensors):
        config = config | {
            "quantization_config": {
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "quant_method": "fp8",
                "weight_block_size": [128, 128],
            }
        }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    names = list(tensors)
    size = math.ceil(len(names) / files)
    weight_map = {}
    for number in range(files):
        file = f"model-{number + 1:05d}-of-{files:06d}.safetensors"
        part = names[number * size : (number + 1) * size]
        save_file({name: tensors[name].contiguous() for name in part}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map})
    )
    for name in ("configuration_deepseek.py", "modeling_deepseek.py"):
        (folder / name).write_text(f"open({str(folder / 'ran')!r}, 'w')\n{CODE}")
    return folder
