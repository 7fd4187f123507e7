"""Files of divided tensors: saved by four ranks, read by one and by two, bit for bit; what is missing is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from grpo.training.shard_files import Shard, load_shards, save_shards
from policies.errors import BrokenCheckpoint
from policies.tensor_files import Entry, Region, TensorFile


def shards(tensors: dict[str, torch.Tensor], axis: int, rank: int, ranks: int) -> list[Shard]:
    """This rank's chunk of every tensor along an axis; later ranks may have none of a short one."""
    found = []
    for name, tensor in tensors.items():
        chunks = torch.chunk(tensor, ranks, dim=min(axis, tensor.ndim - 1))
        offset = [0] * tensor.ndim
        offset[min(axis, tensor.ndim - 1)] = sum(
            len(c.movedim(min(axis, tensor.ndim - 1), 0)) for c in chunks[:rank]
        )
        part = (
            chunks[rank].clone()
            if rank < len(chunks)
            else tensor.narrow(min(axis, tensor.ndim - 1), 0, 0).clone()
        )
        region = Region(tuple(offset), tuple(part.shape))
        found.append(Shard(name, part, region, tuple(tensor.shape), is_first_copy=True))
    return found


def make(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": torch.randn(7, 5, generator=generator),
        "b": torch.randn(3, generator=generator).bfloat16(),
        "c": torch.randn(4, 6, 2, generator=generator),
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 2))
def test_any_division_reads_what_any_other_wrote(
    tmp_path_factory: pytest.TempPathFactory, wrote: int, reads: int, wrote_axis: int, reads_axis: int
) -> None:
    folder, tensors = tmp_path_factory.mktemp("shards"), make(0)
    for rank in range(wrote):
        save_shards(folder, "optimizer", shards(tensors, wrote_axis, rank, wrote), rank, wrote)
    for rank in range(reads):
        expected = shards(tensors, reads_axis, rank, reads)
        found = shards(make(1), reads_axis, rank, reads)
        load_shards(folder, "optimizer", found)
        assert all(torch.equal(f.part, e.part) for f, e in zip(found, expected, strict=True))


def test_a_missing_or_torn_file_is_named(tmp_path: Path) -> None:
    tensors = make(0)
    for rank in range(4):
        save_shards(tmp_path, "optimizer", shards(tensors, 0, rank, 4), rank, 4)
    whole = shards(make(1), 0, 0, 1)
    third = tmp_path / "optimizer-00003-of-00004.safetensors"
    data = third.read_bytes()
    third.write_bytes(data[: len(data) - 8])
    with pytest.raises(BrokenCheckpoint, match=r"optimizer-00003-of-00004\.safetensors: cannot be read"):
        load_shards(tmp_path, "optimizer", whole)
    third.unlink()
    with pytest.raises(BrokenCheckpoint, match=r"optimizer-00003-of-00004\.safetensors is missing"):
        load_shards(tmp_path, "optimizer", whole)


def test_the_files_are_plain_safetensors(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file

    tensors = make(0)
    save_shards(tmp_path, "optimizer", shards(tensors, 0, 1, 2), 1, 2)
    file = tmp_path / "optimizer-00002-of-00002.safetensors"
    found = load_file(file)
    assert torch.equal(found["a"], tensors["a"][4:])
    with safe_open(file, framework="pt") as opened:
        assert json.loads(opened.metadata()["places"])["a"] == [[4, 0], [7, 5]]


def test_rows_that_do_not_fit_the_announced_tensor_are_refused(tmp_path: Path) -> None:
    with TensorFile(tmp_path / "x.safetensors", [Entry("w", torch.float32, (3, 2))]) as file:
        with pytest.raises(ValueError, match=r"rows up to 4 of w"):
            file.write_rows(torch.zeros(4, 2))
        with pytest.raises(ValueError, match=r"rows up to 1 of w"):
            file.write_rows(torch.zeros(1, 3))
        file.write_rows(torch.ones(2, 2))
        with pytest.raises(ValueError, match="w: 2 rows of it were written before"):
            file.write(torch.ones(3, 2))
        file.write_rows(torch.zeros(1, 2))
    assert load_file(tmp_path / "x.safetensors")["w"].tolist() == [[1, 1], [1, 1], [0, 0]]
