"""Tensors that are divided over ranks (torch's DTensor), beside plain ones: one spelling for both.

    whole(weight)      all of it, on every rank that holds a part: a collective; differentiable
    local(weight)      this rank's part, the live storage
    fill(weight, full)  copies this rank's part of a whole tensor into it

A plain tensor is its own whole and its own part, without a copy.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset


def whole(tensor: Tensor) -> Tensor:
    """Return the whole tensor; the ranks that hold its parts call it together.

    The gradient is summed over all ranks of the tensor's mesh, and each keeps its own part.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    return tensor.full_tensor(grad_placements=[Partial()] * tensor.device_mesh.ndim)


def local(tensor: Tensor) -> Tensor:
    """Return this rank's part, without a gradient; it shares the tensor's storage."""
    found = tensor.detach()
    return found.to_local() if isinstance(found, DTensor) else found


def like(tensor: Tensor, part: Tensor) -> Tensor:
    """Return a tensor divided as `tensor` is, of which `part` is this rank's; no communication."""
    if not isinstance(tensor, DTensor):
        return part
    return DTensor.from_local(
        part,
        tensor.device_mesh,
        tensor.placements,
        run_check=False,
        shape=tensor.shape,
        stride=tensor.stride(),
    )


def gathered(tensors: Iterable[tuple[str, Tensor]], keep: bool) -> dict[str, Tensor]:
    """Gather tensors one at a time; the ranks that hold their parts call it together.

    Returns:
        The whole tensors on the CPU, without a gradient; empty where `keep` is False.
    """
    found = {}
    for name, tensor in tensors:
        full = whole(tensor.detach())
        if keep:
            found[name] = full.cpu()
    return found


@torch.no_grad()
def fill(tensor: Tensor, full: Tensor) -> None:
    """Copy a whole tensor of the same shape into this one; of a divided one each rank copies its part."""
    local(tensor).copy_(part_of(tensor, full))


def part_of(tensor: Tensor, full: Tensor) -> Tensor:
    """Return the view of a whole tensor that holds what this rank has of `tensor`."""
    if not isinstance(tensor, DTensor):
        return full
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    rows = tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
    return full[rows]
