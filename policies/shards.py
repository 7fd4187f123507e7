"""Tensors that are divided over ranks (torch's DTensor), beside plain ones: one spelling for both.

    whole(weight)      all of it, on every rank that holds a part: a collective; differentiable
    proven_whole(name, weight)    the same, with a proof that no part was lost or exchanged on the way
    in_rows(name, weight)         a large matrix, for one rank to take some rows at a time
    local(weight)      this rank's part, the live storage
    fill(weight, full)  copies this rank's part of a whole tensor into it

A plain tensor is its own whole and its own part, without a copy.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor
from torch.distributed.tensor import DTensor, Partial
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from policies.errors import GatherError

ROW_BYTES = 1 << 24
"""Bytes of the rows that `DividedRows` gathers at a time."""


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


@dataclass(frozen=True)
class DividedRows:
    """A tensor that is divided over ranks, of which one rank takes some rows at a time."""

    name: str
    tensor: DTensor

    @torch.no_grad()
    def blocks(self, to: int) -> Iterator[Tensor]:
        """Yield all rows in order, on rank `to`; other ranks yield as many tensors without meaning.

        All ranks run through it together. It has the proof of `proven_whole`, block by block.

        Raises:
            GatherError: on rank `to`, after the last block, so that the ranks stay in step: rows differ from those of a
                rank that holds them.
        """
        tensor, part = self.tensor, local(self.tensor)
        sizes, starts = compute_local_shape_and_global_offset(
            tensor.shape, tensor.device_mesh, tensor.placements
        )
        coordinates = tensor.device_mesh.get_coordinate() or ()
        is_first_copy = not any(
            at for at, kind in zip(coordinates, tensor.placements, strict=True) if kind.is_replicate()
        )
        wrong: list[tuple[int, int]] = []
        length, *widths = tensor.shape
        step = max(1, ROW_BYTES // (math.prod(widths) * tensor.dtype.itemsize))
        for first in range(0, length, step):
            last = min(first + step, length)
            low, high = max(first, starts[0]), min(last, starts[0] + sizes[0])
            rows = part[max(0, low - starts[0]) : max(0, high - starts[0])]
            place = [low - first, *starts[1:], *rows.shape]
            block = torch.zeros(last - first, *widths, dtype=tensor.dtype, device=part.device)
            if is_first_copy and rows.numel():
                block[_slices(place)] = rows
            own = torch.tensor([*_digest(rows), *place], device=part.device)
            parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
            dist.all_gather(parts, own)
            # Every byte comes from one rank, all others add zero.
            dist.reduce(block.view(-1).view(torch.uint8), dst=to)
            if dist.get_rank() == to:
                wrong += [
                    (rank, first + numbers[2])
                    for rank, numbers in enumerate(part.tolist() for part in parts)
                    if math.prod(numbers[2 + tensor.ndim :])
                    and _digest(block[_slices(numbers[2:])]) != tuple(numbers[:2])
                ]
            yield block
        if wrong:
            raise GatherError(
                f"{self.name}: the gathered tensor differs from what rank {wrong[0][0]} holds of it, from row "
                f"{wrong[0][1]}"
            )


def in_rows(name: str, tensor: Tensor) -> Tensor | DividedRows:
    """Return a matrix that is divided and larger than `ROW_BYTES` for gathering by rows, any other one whole.

    All ranks that hold its parts call it together, and then run through `DividedRows.blocks` together.
    """
    own = tensor.detach()
    if isinstance(own, DTensor) and own.ndim == 2 and own.numel() * own.dtype.itemsize > ROW_BYTES:
        return DividedRows(name, own)
    return proven_whole(name, tensor)


def _slices(place: list[int]) -> tuple[slice, ...]:
    """Return the slices of a block: its offsets, then its sizes."""
    axes = len(place) // 2
    return tuple(slice(start, start + size) for start, size in zip(place[:axes], place[axes:], strict=True))


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
