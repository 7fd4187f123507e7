"""Sums over the learner ranks; with one rank these functions do nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

BUCKET_ELEMENTS = 1 << 22
"""Gradients travel in buckets of up to 16 MiB: few messages, and little memory beside the gradients."""


@dataclass(frozen=True)
class RankTeam:
    """The ranks of torch.distributed, as those that write a checkpoint together (grpo/training/checkpoint.py)."""

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


@torch.no_grad()
def add_gradients(parameters: Iterable[Tensor], world_size: int) -> None:
    """Replace every `.grad` by its sum over ranks; a rank without one (an expert it did not use) adds zero."""
    if world_size == 1:
        return
    bucket: list[Tensor] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        if sum(g.numel() for g in bucket) >= BUCKET_ELEMENTS:
            _add_bucket(bucket)
            bucket = []
    if bucket:
        _add_bucket(bucket)


def _add_bucket(gradients: list[Tensor]) -> None:
    if len(gradients) == 1:
        dist.all_reduce(gradients[0])
        return
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


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
