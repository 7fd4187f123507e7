"""GGUF export: every tensor of what a converter wrote is compared, and a file that is wrong never appears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from policies.errors import PolicyError
from policies.export import save_policy
from policies.gguf import import_gguf
from policies.gguf_export import export_gguf, rounding
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from tests.policies.tiny import tiny_policy, write_tokenizer

CONVERTER = Path(__file__).with_name("scripted_converter.py")
PRESETS = ["tiny-llama", "tiny-qwen3", "tiny-v2", "tiny-v3"]


def policy(folder: Path, preset: str = "tiny-llama", **fields: Any) -> Path:
    from policies.tokenizer import load_tokenizer

    tokenizer = write_tokenizer(folder / "tokenizer")
    model: Any = tiny_policy(preset, **fields)
    model.resize_token_embeddings(len(load_tokenizer(tokenizer)), mean_resizing=False)
    return save_policy(model, folder / "policy", tokenizer)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_family_is_compared_tensor_by_tensor(tmp_path: Path, preset: str) -> None:
    folder = policy(tmp_path, preset)
    report = export_gguf(folder, tmp_path / "x.gguf", CONVERTER, "f32")
    assert report.largest_difference == 0.0
    assert report.bytes == (tmp_path / "x.gguf").stat().st_size > 0
    assert report.tensors > 20


def test_layers_of_multi_token_prediction_are_left_out(tmp_path: Path) -> None:
    folder = policy(tmp_path, "tiny-v3", num_nextn_predict_layers=1)
    export_gguf(folder, tmp_path / "x.gguf", CONVERTER, "f32")


@pytest.mark.parametrize(
    ("preset", "outtype"), [("tiny-v3", "f16"), ("tiny-llama", "bf16"), ("tiny-v3", "q8_0")]
)
def test_a_type_may_round_and_no_more(tmp_path: Path, preset: str, outtype: str) -> None:
    report = export_gguf(policy(tmp_path, preset), tmp_path / "x.gguf", CONVERTER, outtype)
    assert 0 < report.largest_difference < 0.01


@pytest.mark.parametrize("preset", ["tiny-llama-tied", "tiny-qwen2"])
def test_what_is_exported_comes_back_by_the_import(tmp_path: Path, preset: str) -> None:
    """transformers reads the file: names and layout by code that is neither the converter's nor ours."""
    folder = policy(tmp_path, preset)
    export_gguf(folder, tmp_path / "x.gguf", CONVERTER, "f32")
    import_gguf(tmp_path / "x.gguf", tmp_path / "back")
    tokens = [5, 9, 3, 7, 7, 2, 11, 40]
    before, after = (sequence_logprobs(load_policy(f), tokens) for f in (folder, tmp_path / "back"))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("value", r"attn_q.*differs from the policy's by up to"),
        ("order", r"attn_q.*differs from the policy's"),
        ("nan", r"attn_q.*differs from the policy's"),
        ("missing", r"lacks blk\.0\.attn_q"),
        ("extra", r"tensors that the policy lacks: blk\.0\.other\.weight"),
        ("shape", r"attn_q.*elements"),
        ("garbage", "not a GGUF file"),
        ("crash", r"exit status 1\):\nfirst line\nNotImplementedError"),
    ],
)
def test_a_wrong_file_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, message: str
) -> None:
    folder, out = policy(tmp_path), tmp_path / "x.gguf"
    out.write_bytes(b"old")
    monkeypatch.setenv("DAMAGE", damage)
    with pytest.raises(PolicyError, match=message):
        export_gguf(folder, out, CONVERTER, "q8_0")
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy", "tokenizer", "x.gguf"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = policy(tmp_path)
    with pytest.raises(PolicyError, match="git clone"):
        export_gguf(folder, tmp_path / "x.gguf", tmp_path)
    with pytest.raises(PolicyError, match="there are f32, f16, bf16, q8_0"):
        export_gguf(folder, tmp_path / "x.gguf", CONVERTER, "q2_k")
    with pytest.raises(PolicyError, match="there is no folder"):
        export_gguf(folder, tmp_path / "no" / "x.gguf", CONVERTER)


# Below 1e-30 the library's own division overflows, with a warning.
WEIGHTS = st.floats(-100, 100, width=32).map(lambda value: 0.0 if abs(value) < 1e-30 else value)
FLOATS = arrays(np.float32, (4, 32), elements=WEIGHTS)


@given(values=FLOATS)
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0"])
def test_what_gguf_itself_rounds_is_within_the_bound(kind: str, values: np.ndarray) -> None:
    import gguf

    number = gguf.GGMLQuantizationType[kind]
    back = values if kind == "F32" else gguf.dequantize(gguf.quantize(values, number), number)
    assert (np.abs(back - values) <= rounding(values, kind)).all()
