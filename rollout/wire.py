"""Tensors as bytes: dtypes on the wire, digests, views. No vLLM or Ray is imported here."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import xxhash
from torch import Tensor

DTYPE_NAMES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""safetensors' names by dtype."""
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}

NEVER_CAST = ("e_score_correction_bias", ".mlp.gate.weight")
"""Endings of names that keep their dtype on the wire: the routers' bias and weight. The bias moves by 1e-3 and less a
step, below bfloat16's resolution near 1. Engine and learner compute their routers in float32 (rollout/vllm_router.py);
rounded values would route tokens to other experts than the learner's."""

ALIGNMENT = 64
"""Tensors start at multiples of so many bytes, so that every dtype can be viewed without a copy."""


def digest(tensor: Tensor) -> str:
    """Return the xxh3-128 of a tensor's raw bytes, dtype and shape, as 32 hex digits."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return digest_bytes(flat.numpy().data, DTYPE_NAMES[tensor.dtype], tuple(tensor.shape))


def digest_bytes(data: memoryview, dtype: str, shape: Sequence[int]) -> str:
    """Return the `digest` of a tensor from its bytes."""
    state = xxhash.xxh3_128(f"{dtype}{list(shape)}".encode())
    state.update(data)
    return state.hexdigest()


def dtype_on_wire(name: str, dtype: torch.dtype, wire_dtype: torch.dtype | None) -> torch.dtype:
    """Return the dtype in which a tensor travels: `wire_dtype` for floating tensors, `NEVER_CAST` excepted."""
    if wire_dtype is None or not dtype.is_floating_point or name.endswith(NEVER_CAST):
        return dtype
    return wire_dtype


def part_of(flat: Tensor, start: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return the tensor that begins at a byte of `as_tensor(data, torch.uint8, …)`, a view."""
    size = torch.Size(shape).numel() * dtype.itemsize
    if not size:
        return torch.empty(tuple(shape), dtype=dtype)
    return flat[start : start + size].view(dtype).view(tuple(shape))


def as_tensor(data: memoryview | np.ndarray, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return a view of the bytes, without a copy; the caller guarantees byte order and alignment."""
    if len(data) == 0:
        return torch.empty(tuple(shape), dtype=dtype)
    with warnings.catch_warnings():
        # The object store returns read-only memory; nothing writes to these views.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(tuple(shape))
