"""The digest that adds up over shards, against a plain Python oracle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rollout.transport.sums import digest_sum, positions_of, wrapped

MASK = 2**64 - 1


def oracle(tensor: torch.Tensor) -> int:
    """The definition, in Python's own numbers."""
    size = tensor.element_size()
    total = 0
    raw = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    for position in range(tensor.numel()):
        bits = int.from_bytes(raw[position * size : (position + 1) * size], "little", signed=size > 1)
        word = (bits + (position + 1) * 0x9E3779B97F4A7C15) & MASK
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
        total += word ^ (word >> 31)
    return wrapped(total)


def whole(tensor: torch.Tensor) -> int:
    return digest_sum(tensor, positions_of(tuple(tensor.shape), 0, 0, len(tensor)))


TENSORS = st.builds(
    lambda rows, columns, dtype, seed: torch.from_numpy(
        np.random.default_rng(seed).standard_normal((rows, columns))
    ).to(dtype),
    st.integers(1, 9), st.integers(1, 7),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.uint8]),
    st.integers(0, 2**16),
)  # fmt: skip


@given(TENSORS)
def test_it_is_what_its_definition_says(tensor: torch.Tensor) -> None:
    assert whole(tensor) == oracle(tensor)


@given(TENSORS, st.integers(0, 1), st.data())
def test_shards_of_any_cut_add_up_to_the_whole(tensor: torch.Tensor, dim: int, data: st.DataObject) -> None:
    length = tensor.shape[dim]
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=3)))
    edges = [0, *cuts, length]
    total = 0
    for start, end in pairwise(edges):
        part = tensor.narrow(dim, start, end - start)
        total += digest_sum(part, positions_of(tuple(tensor.shape), dim, start, end - start))
    assert wrapped(total) == whole(tensor)


@given(TENSORS, st.data())
def test_a_changed_bit_and_two_exchanged_elements_change_it(
    tensor: torch.Tensor, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, tensor.numel() * tensor.element_size() - 1))
    changed = tensor.clone()
    changed.view(-1).view(torch.uint8)[place] ^= 1 << data.draw(st.integers(0, 7))
    assert whole(changed) != whole(tensor)
    first, second = (data.draw(st.integers(0, tensor.numel() - 1)) for _ in range(2))
    moved = tensor.clone().reshape(-1)
    moved[[first, second]] = moved[[second, first]]
    moved = moved.reshape(tensor.shape)
    same = torch.equal(moved.view(torch.uint8), tensor.contiguous().view(torch.uint8))
    assert (whole(moved) == whole(tensor)) == same


def test_a_part_and_its_positions_have_one_shape() -> None:
    with pytest.raises(ValueError, match=r"\[3\] elements, \[4\] positions"):
        digest_sum(torch.ones(3), torch.arange(4))
