"""Weights in FP8 with a scale per block, as DeepSeek-V3 is released: float8_e4m3fn and `weight_scale_inv` in float32.

    weight ≈ values × scale of its block of 128 × 128; the last block of a row or column may be smaller

Axes: R rows, C columns, b rows and c columns of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from policies.errors import PolicyError
from policies.json_types import JsonMapping

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
"""Largest number of float8_e4m3fn."""
SCALE = "_scale_inv"
"""End of the name of a weight's scales."""
BLOCK = (128, 128)
RELEASED = {
    "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": list(BLOCK)
}  # fmt: skip
"""quantization_config of DeepSeek-V3's config.json."""


def block_size(config: JsonMapping) -> tuple[int, int]:
    """Return rows and columns of a block from a config.json with FP8 weights.

    Raises:
        PolicyError: the weights are not in this format; names key and value.
    """
    found = config.get("quantization_config") or {}
    for key, expected in (("quant_method", "fp8"), ("fmt", "e4m3")):
        if found.get(key, expected) != expected:
            raise PolicyError(f"quantization_config.{key} = {found[key]!r}: supported is {expected!r}")
    size = found.get("weight_block_size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and n > 0 for n in size):
        raise PolicyError(
            f"quantization_config.weight_block_size = {size!r}: expected two numbers, as [128, 128] of DeepSeek-V3"
        )
    return size[0], size[1]


def scale_shape(shape: tuple[int, ...], block: tuple[int, int]) -> tuple[int, int]:
    """Return how many blocks a weight (R, C) has."""
    rows, columns = shape
    return -(-rows // block[0]), -(-columns // block[1])


def spread(scales: Tensor, shape: tuple[int, int], block: tuple[int, int]) -> Tensor:
    """Return the scale of every element, (R, C), of one per block."""
    wide = scales.repeat_interleave(block[0], 0)[: shape[0]]
    return wide.repeat_interleave(block[1], 1)[:, : shape[1]]


def dequantise(values: Tensor, scales: Tensor, block: tuple[int, int]) -> Tensor:
    """Return the weights (R, C) in bfloat16, by a product in float32 as the released script computes it.

    Args:
        values: (R, C), float8_e4m3fn or its numbers in float32; the first row begins a block.
        scales: float32, one per block.
        block: rows and columns of a block.
    """
    rows, columns = values.shape
    return (values.float() * spread(scales, (rows, columns), block)).to(torch.bfloat16)


def quantise(weights: Tensor, block: tuple[int, int] = BLOCK) -> tuple[Tensor, Tensor]:
    """Return values (R, C) in float8_e4m3fn and float32 scales, so that the largest of each block becomes 448."""
    rows, columns = weights.shape
    down, across = scale_shape((rows, columns), block)
    padded = torch.zeros(down * block[0], across * block[1])
    padded[:rows, :columns] = weights
    largest = padded.view(down, block[0], across, block[1]).abs().amax(dim=(1, 3))
    scales = largest / LARGEST
    scales = torch.where(scales > 0, scales, 1.0)  # zeros, and numbers so small that their scale is zero
    values = weights.float() / spread(scales, (rows, columns), block)
    return values.clamp(-LARGEST, LARGEST).to(FP8), scales
