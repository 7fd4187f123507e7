"""Publishing, reading and the canary, without an engine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from rollout.canary import Canary, CanaryTolerance, check_canary
from rollout.errors import WeightSyncError
from rollout.publication import Publication
from rollout.weights import DTYPES, digest, publish, read_and_verify

TENSORS = {
    "a.weight": torch.randn(5, 3),
    "b.weight": torch.randn(7).to(torch.bfloat16),
    "c.bias": torch.arange(4),
    "empty": torch.empty(0, 3),
    "scalar": torch.tensor(2.5),
    "d.e_score_correction_bias": torch.tensor([1.0 + 2**-12, -3e-4]),
    "d.mlp.gate.weight": torch.tensor([[1.0 + 2**-12, -3e-4]]),
    "d.mlp.gate_proj.weight": torch.tensor([[1.0 + 2**-12]]),
}


@pytest.fixture
def publication(tmp_path: Path) -> Publication:
    return publish(TENSORS.items(), 3, tmp_path)


@pytest.mark.parametrize("inline", [False, True])
def test_what_is_published_arrives(tmp_path: Path, inline: bool) -> None:
    publication = publish(TENSORS.items(), 3, tmp_path, inline=inline)
    found = read_and_verify(publication)
    assert list(found) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
        assert publication.manifest[name].digest == digest(tensor)
    assert (publication.path is None) == inline


def test_the_file_is_safetensors(publication: Publication) -> None:
    found = load_file(str(publication.path))
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_inline_bytes_may_be_read_only() -> None:
    inline = publish(TENSORS.items(), 3, Path(), inline=True)
    assert inline.inline is not None
    inline.inline.flags.writeable = False  # as the object store hands it out
    assert torch.equal(read_and_verify(inline)["a.weight"], TENSORS["a.weight"])


def test_wire_dtype_rounds_all_but_the_routers(tmp_path: Path) -> None:
    found = read_and_verify(publish(TENSORS.items(), 1, tmp_path, wire_dtype=torch.bfloat16))
    assert torch.equal(found["a.weight"], TENSORS["a.weight"].to(torch.bfloat16))
    for name in ("d.e_score_correction_bias", "d.mlp.gate.weight"):
        assert torch.equal(found[name], TENSORS[name])
    assert found["d.mlp.gate_proj.weight"].dtype == torch.bfloat16
    assert found["c.bias"].dtype == torch.int64


def test_non_contiguous_tensors_arrive_whole(tmp_path: Path) -> None:
    strided = torch.arange(24.0).view(4, 6).t()[::2]
    publication = publish([("x", strided)], 1, tmp_path)
    assert torch.equal(read_and_verify(publication)["x"], strided)
    assert publication.manifest["x"].digest == digest(strided)


def test_older_versions_go_and_nothing_half_written_stays(tmp_path: Path) -> None:
    first = publish(TENSORS.items(), 1, tmp_path)
    early = read_and_verify(first)
    second = publish(TENSORS.items(), 2, tmp_path)
    assert os.listdir(tmp_path) == [Path(str(second.path)).name]
    assert torch.equal(early["a.weight"], TENSORS["a.weight"]), "a reader of the old version lost its tensors"


def test_a_failure_while_writing_leaves_the_old_version(tmp_path: Path) -> None:
    first = publish(TENSORS.items(), 1, tmp_path)
    meta = torch.empty(3, device="meta")
    with pytest.raises(NotImplementedError):
        publish([("x", meta)], 2, tmp_path)
    assert os.listdir(tmp_path) == [Path(str(first.path)).name]
    read_and_verify(first)


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'x' is published twice"):
        publish([("x", torch.ones(1)), ("x", torch.ones(1))], 1, tmp_path)


@settings(max_examples=60, deadline=None)
@given(flip=st.integers(min_value=0), bit=st.integers(0, 7))
def test_any_flipped_bit_of_a_tensor_is_named(flip: int, bit: int) -> None:
    publication = publish(TENSORS.items(), 3, Path(), inline=True)
    assert publication.inline is not None
    data = bytearray(publication.inline.tobytes())
    base = 8 + int.from_bytes(data[:8], "little")
    place = base + flip % (len(data) - base)
    data[place] ^= 1 << bit
    with pytest.raises(WeightSyncError, match="is corrupted") as caught:
        read_and_verify(replace(publication, inline=np.frombuffer(bytes(data), dtype=np.uint8)))
    assert str(caught.value).count("corrupted") == 1


def test_every_fault_is_named_at_once(publication: Publication) -> None:
    manifest = dict(publication.manifest)
    manifest["absent"] = manifest["a.weight"]
    del manifest["scalar"]
    manifest["c.bias"] = replace(manifest["c.bias"], dtype="F32")
    manifest["b.weight"] = replace(manifest["b.weight"], shape=(6,))
    with pytest.raises(WeightSyncError) as caught:
        read_and_verify(replace(publication, manifest=manifest))
    text = str(caught.value)
    assert "version 3" in text
    assert "absent is missing" in text
    assert "scalar is not in the manifest" in text
    assert "c.bias is I64 [4], not F32 [4]" in text
    assert "b.weight is BF16 [7], not BF16 [6]" in text
    assert "a.weight" not in text


def test_a_file_cut_short_is_named(publication: Publication) -> None:
    path = Path(str(publication.path))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(WeightSyncError, match=r"d\.mlp\.gate_proj\.weight is cut short"):
        read_and_verify(publication)


@pytest.mark.parametrize("content", [b"", b"\x08", b"\xff" * 64])
def test_a_file_that_is_none_is_named(publication: Publication, content: bytes) -> None:
    Path(str(publication.path)).write_bytes(content)
    with pytest.raises(WeightSyncError, match="version 3"):
        read_and_verify(publication)


def test_a_vanished_file_is_named(publication: Publication) -> None:
    Path(str(publication.path)).unlink()
    with pytest.raises(WeightSyncError, match="cannot read"):
        read_and_verify(publication)


@given(st.lists(st.integers(0, 255), min_size=8, max_size=8))
def test_digest_covers_dtype_and_shape_too(values: list[int]) -> None:
    raw = torch.tensor(values, dtype=torch.uint8)
    same_bytes = [raw, raw.view(torch.int32), raw.view(torch.float32), raw.view(2, 4), raw.view(4, 2)]
    assert len({digest(t) for t in same_bytes}) == len(same_bytes)
    assert digest(raw) == digest(raw.clone())


def test_every_dtype_survives(tmp_path: Path) -> None:
    tensors = {name: torch.ones(3, dtype=dtype) for name, dtype in DTYPES.items()}
    found = read_and_verify(publish(tensors.items(), 1, tmp_path))
    assert {name: t.dtype for name, t in found.items()} == {name: t.dtype for name, t in tensors.items()}


CANARIES = (
    Canary((5, 6, 7), np.array([-1.0, -2.0], dtype=np.float32)),
    Canary((8, 9), np.array([-3.0], dtype=np.float32)),
)
TOLERANCE = CanaryTolerance(each=0.1, mean=0.02)


def answers(*values: float) -> list[np.ndarray]:
    return [np.array(values[:2], dtype=np.float32), np.array(values[2:], dtype=np.float32)]


def test_canary_within_tolerance_reports_largest_and_mean() -> None:
    largest, mean = check_canary(CANARIES, answers(-1.0, -2.03, -3.0), TOLERANCE, 1)
    assert largest == pytest.approx(0.03, abs=1e-6)
    assert mean == pytest.approx(0.01, abs=1e-6)


def test_canary_names_prompt_position_and_both_values() -> None:
    with pytest.raises(WeightSyncError) as caught:
        check_canary(CANARIES, answers(-1.0, -2.5, -3.0), TOLERANCE, 4)
    assert all(
        part in str(caught.value)
        for part in (
            "version 4",
            "canary prompt 0",
            "position 2",
            "token 7",
            "engine -2.500000",
            "learner -2.000000",
        )
    )


def test_many_small_gaps_fail_by_their_mean() -> None:
    with pytest.raises(WeightSyncError, match="mean"):
        check_canary(CANARIES, answers(-1.05, -2.05, -3.05), TOLERANCE, 4)


def test_nan_fails_the_canary() -> None:
    with pytest.raises(WeightSyncError, match="canary prompt 1, position 1"):
        check_canary(CANARIES, answers(-1.0, -2.0, float("nan")), TOLERANCE, 4)


def test_missing_answers_fail_the_canary() -> None:
    with pytest.raises(WeightSyncError, match="2 canary prompts, 1 answers"):
        check_canary(CANARIES, answers(-1.0, -2.0, -3.0)[:1], TOLERANCE, 4)
    with pytest.raises(WeightSyncError, match="log-probs"):
        check_canary(CANARIES, [np.zeros(3), np.zeros(1)], TOLERANCE, 4)
