"""Blocks of FP8 against plain loops in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.errors import PolicyError
from policies.fp8 import LARGEST, block_size, dequantise, quantise, scale_shape

sides = st.integers(1, 40)


def drawn(rows: int, columns: int, seed: int, size: float) -> torch.Tensor:
    return size * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.tuples(st.integers(1, 16), st.integers(1, 16)), st.integers(0, 9))
def test_dequantising_multiplies_each_value_by_the_scale_of_its_block(
    rows: int, columns: int, block: tuple[int, int], seed: int
) -> None:
    values = drawn(rows, columns, seed, 100).clamp(-448, 448).to(torch.float8_e4m3fn)
    scales = drawn(*scale_shape((rows, columns), block), seed + 1, 1)
    found = dequantise(values, scales, block)
    for r in range(rows):
        for c in range(columns):
            exact = values[r, c].double() * scales[r // block[0], c // block[1]].double()
            assert abs(found[r, c].double() - exact) <= 2**-8 * 1.0001 * abs(exact)


@settings(max_examples=60, deadline=None)
@given(
    sides,
    sides,
    st.tuples(st.integers(1, 16), st.integers(1, 16)),
    st.integers(0, 9),
    st.sampled_from([1e-3, 1.0, 1e30]),
)
def test_quantising_keeps_each_weight_to_a_sixteenth(
    rows: int, columns: int, block: tuple[int, int], seed: int, size: float
) -> None:
    weights = drawn(rows, columns, seed, size)
    values, scales = quantise(weights, block)
    assert scales.shape == scale_shape((rows, columns), block)
    assert values.float().abs().max() == LARGEST
    for r in range(rows):
        for c in range(columns):
            scale = float(scales[r // block[0], c // block[1]])
            back = float(values[r, c]) * scale
            # Three bits after the first; below 2^-6 of the scale steps of 2^-9.
            assert (
                abs(back - float(weights[r, c]))
                <= max(2**-4 * abs(float(weights[r, c])), 2**-10 * scale) * 1.001
            )


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-40])
def test_a_block_of_nothing_stays_nothing(size: float) -> None:
    values, scales = quantise(torch.full((4, 4), size), (2, 2))
    assert torch.isfinite(values.float()).all()
    assert (scales > 0).all()
    assert (values.float() * scales[0, 0]).abs().max() <= 1.1 * size


@pytest.mark.parametrize("size", [None, [128], [128, 0], [128, "128"], "128", [True, 128]])
def test_a_block_size_is_two_numbers(size: object) -> None:
    with pytest.raises(PolicyError, match="weight_block_size"):
        block_size({"quantization_config": {"quant_method": "fp8", "weight_block_size": size}})
