"""Tensors that are divided over ranks (torch's DTensor), beside plain ones: one spelling for both.

    whole(weight)      all of it, on every rank that holds a part: a collective; differentiable
    proven_whole(name, weight)    the same, with a proof that no part was lost or exchanged on the way
    local(weight)      this rank's part, the live storage
    fill(weight, full)  copies this rank's part of a whole tensor into it

A plain tensor is its own whole and its own part, without a copy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from policies.errors import GatherError


def whole(tensor: Tensor) -> Tensor:
    """Return the whole tensor; the ranks that hold its parts call it together.

    The gradient is summed over all ranks of the tensor's mesh, and each keeps its own part.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    return tensor.full_tensor(grad_placements=[Partial()] * tensor.device_mesh.ndim)


@torch.no_grad()
def proven_whole(name: str, tensor: Tensor) -> Tensor:
    """Return the whole tensor, without a gradient, after a proof that it is made of every rank's part.

    Each rank digests its own part (xxh3-128) before the gather; rank 0 digests the same slices of the result. All ranks
    call it together.

    Raises:
        GatherError: a slice differs from the part of a rank, or two ranks hold different copies of one part.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    own = torch.tensor([*_digest(local(tensor)), *shape, *offset], device=tensor.device)
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    full = whole(tensor.detach())
    if dist.get_rank() == 0:
        found: dict[tuple[int, ...], tuple[int, int]] = {}
        for rank, numbers in enumerate(part.tolist() for part in parts):
            sizes, starts = numbers[2 : 2 + tensor.ndim], numbers[2 + tensor.ndim :]
            if (place := (*sizes, *starts)) not in found:
                rows = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
                found[place] = _digest(full[rows])
            if found[place] != tuple(numbers[:2]):
                raise GatherError(
                    f"{name}: the gathered tensor differs from what rank {rank} holds of it, from index {starts}"
                )
    return full


def _digest(part: Tensor) -> tuple[int, int]:
    """Return the two halves of the xxh3-128 of a tensor's bytes, as signed numbers."""
    data = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    high, low = struct.unpack(">qq", xxhash.xxh3_128(data).digest())
    return high, low


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
