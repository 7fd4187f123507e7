"""Stands for llama.cpp's convert_hf_to_gguf.py in tests: the same options, written from the file format's description.

python scripted_converter.py FOLDER --outfile X --outtype f16        with DAMAGE=… something goes wrong
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

LEAVES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
    "up_proj": "ffn_up", "down_proj": "ffn_down", "input_layernorm": "attn_norm", "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "kv_a_layernorm": "attn_kv_a_norm", "q_a_proj": "attn_q_a", "q_b_proj": "attn_q_b", "gate": "ffn_gate_inp",
    "q_a_layernorm": "attn_q_a_norm",
}  # fmt: skip
TOPS = {"embed_tokens": "token_embd", "norm": "output_norm"}
KINDS = {"f16": "F16", "bf16": "BF16", "q8_0": "Q8_0"}


def laid_out(folder: Path, config: dict) -> dict[str, np.ndarray]:
    """Every tensor of the policy under llama.cpp's name and in its layout."""
    tensors = load_file(folder / "model.safetensors")
    result = {}
    for name, values in tensors.items():
        parts = name.split(".")
        if name == "lm_head.weight":
            result["output.weight"] = values
            continue
        if parts[1] != "layers":
            result[f"{TOPS[parts[1]]}.weight"] = values
            continue
        layer, module, kind = parts[2], parts[-2], parts[-1]
        if int(layer) >= config["num_hidden_layers"] or ".experts." in name:
            continue
        if kind == "e_score_correction_bias":
            result[f"blk.{layer}.exp_probs_b.bias"] = values
        elif module == "kv_b_proj":
            per_head = values.reshape(config["num_attention_heads"], -1, config["kv_lora_rank"])
            nope = config["qk_nope_head_dim"]
            result[f"blk.{layer}.attn_k_b.weight"] = np.stack([head[:nope].T for head in per_head])
            result[f"blk.{layer}.attn_v_b.weight"] = np.stack([head[nope:] for head in per_head])
        elif "shared_experts" in name:
            result[f"blk.{layer}.{LEAVES[module]}_shexp.weight"] = values
        elif config["model_type"] == "llama" and module in ("q_proj", "k_proj"):
            heads = config["num_attention_heads" if module == "q_proj" else "num_key_value_heads"]
            half = len(values) // heads // 2
            order = [
                h * 2 * half + part * half + i for h in range(heads) for i in range(half) for part in (0, 1)
            ]
            result[f"blk.{layer}.{LEAVES[module]}.{kind}"] = values[order]
        else:
            result[f"blk.{layer}.{LEAVES[module]}.{kind}"] = values
    for layer in range(config["num_hidden_layers"]):
        for leaf in ("gate_proj", "up_proj", "down_proj"):
            name = f"model.layers.{layer}.mlp.experts.{{}}.{leaf}.weight"
            if name.format(0) in tensors:
                stack = [tensors[name.format(i)] for i in range(config["n_routed_experts"])]
                result[f"blk.{layer}.{LEAVES[leaf]}_exps.weight"] = np.stack(stack)
    return result


def damaged(tensors: dict[str, np.ndarray], damage: str) -> dict[str, np.ndarray]:
    """Do one thing wrong."""
    name = next(n for n in tensors if "attn_q" in n and n.endswith("weight") and tensors[n].ndim == 2)
    if damage == "value":
        tensors[name] = tensors[name].copy()
        tensors[name][1, 2] += 0.05
    elif damage == "order":
        tensors[name] = np.roll(tensors[name], 1, axis=0)
    elif damage == "missing":
        del tensors[name]
    elif damage == "extra":
        tensors["blk.0.other.weight"] = np.ones((2, 32), np.float32)
    elif damage == "shape":
        tensors[name] = tensors[name][:-1]
    elif damage == "nan":
        tensors[name] = tensors[name] * np.nan
    return tensors


def write(folder: Path, out: Path, outtype: str, damage: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    arch = {"deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2"}.get(
        config["model_type"], config["model_type"]
    )
    writer = gguf.GGUFWriter(out, arch)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
        writer.add_rope_dimension_count(config["head_dim"])
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    vocab = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocab)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in vocab])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    for name, values in damaged(laid_out(folder, config), damage).items():
        fits = values.ndim > 1 and (outtype != "q8_0" or values.shape[-1] % 32 == 0)
        if outtype == "f32" or not fits:
            writer.add_tensor(name, np.ascontiguousarray(values, np.float32))
        else:
            kind = gguf.GGMLQuantizationType[KINDS[outtype]]
            writer.add_tensor(
                name, gguf.quantize(np.ascontiguousarray(values, np.float32), kind), raw_dtype=kind
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--outfile", type=Path, required=True)
    parser.add_argument("--outtype", required=True)
    args = parser.parse_args()
    damage = os.environ.get("DAMAGE", "")
    if damage == "crash":
        print("first line\nNotImplementedError: BPE pre-tokenizer was not recognized", file=sys.stderr)
        return 1
    if damage == "garbage":
        args.outfile.write_bytes(b"GGUF")
        return 0
    write(args.model, args.outfile, args.outtype, damage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
