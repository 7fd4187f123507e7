"""Sums over the learner ranks; with one rank these functions do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class RankTeam:
    """The ranks of torch.distributed, as those that write a folder together (grpo/training/together.py)."""

    rank: int
    ranks: int
    device: str
    """Where the backend wants tensors."""

    def any_failed(self, failed: bool) -> bool:
        """Wait for all ranks, within the group's deadline; returns True if one of them failed."""
        flag = torch.tensor(float(failed), device=self.device)
        maximum(flag, self.ranks)
        return bool(flag)


def add(tensor: Tensor, world_size: int) -> None:
    """Replace the tensor by its sum over ranks, in place."""
    if world_size > 1:
        dist.all_reduce(tensor, dist.ReduceOp.SUM)


def maximum(tensor: Tensor, world_size: int) -> None:
    """Replace the tensor by its maximum over ranks, in place."""
    if world_size > 1:
        dist.all_reduce(tensor, dist.ReduceOp.MAX)


def evened(own: Sequence[ItemT], world_size: int, device: torch.device) -> Iterator[ItemT | None]:
    """Yield this rank's micro-batches, then None until every rank has had as many; a collective.

    Layers are gathered in the forward and the backward of each: a rank that did fewer would leave the others waiting.
    """
    most = torch.tensor(len(own), device=device)
    maximum(most, world_size)
    yield from own
    for _ in range(int(most) - len(own)):
        yield None


def gather_parts(
    own: Sequence[np.ndarray | None], lengths: Sequence[int], device: torch.device
) -> list[np.ndarray]:
    """Collect arrays of which each rank holds some.

    Args:
        own: arrays of float32 that this rank has; None where another rank has it.
        lengths: of all arrays, in the same order on every rank.
        device: where the backend wants tensors.

    Returns:
        All arrays, on every rank.
    """
    flat = np.zeros(sum(lengths), dtype=np.float32)
    owners = np.zeros(len(lengths), dtype=np.float32)
    ends = np.cumsum(lengths)
    for i, (array, length, end) in enumerate(zip(own, lengths, ends, strict=True)):
        if array is not None:
            flat[end - length : end], owners[i] = array, 1.0
    tensor, counts = torch.from_numpy(flat).to(device), torch.from_numpy(owners).to(device)
    dist.all_reduce(tensor)
    dist.all_reduce(counts)
    # Equal completions of a prompt have one key, so more than one rank may hold an array: take the mean.
    tensor /= counts.repeat_interleave(torch.tensor(lengths, device=device))
    return np.split(tensor.cpu().numpy(), ends[:-1])
