"""Gradients over ranks: sums of those that FSDP2 does not sum, and the norm of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from grpo.training.sharding.mesh import Ranks
from policies.shards import local


@torch.no_grad()
def add_gradients(parameters: Iterable[Tensor], ranks: Ranks) -> None:
    """Replace the `.grad` of every undivided parameter by its sum over ranks; a rank without one adds zero.

    Divided ones were summed in the backward.
    """
    if not ranks.is_sharded:
        return
    for parameter in parameters:
        if not isinstance(parameter, DTensor):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)


@torch.no_grad()
def gradient_norm(parameters: Mapping[str, Tensor], ranks: Ranks) -> float:
    """Euclidean norm of all gradients: each part's in float32, their squares summed in float64 over parts and ranks."""
    counted = [
        local(p.grad)
        for p in parameters.values()
        # The ranks of a copy all have an undivided gradient; one of them counts it.
        if p.grad is not None and (isinstance(p, DTensor) or ranks.copy_index == 0)
    ]
    # One wait for the device, not one for each tensor.
    norms: list[float] = torch.stack([g.norm().float() for g in counted]).tolist() if counted else []
    total = sum(n * n for n in norms)
    if ranks.copy is not None:
        summed = torch.tensor(total, dtype=torch.float64, device=ranks.copy.device_type)
        dist.all_reduce(summed, group=ranks.copy.get_group("shard"))
        total = float(summed)
    return float(total**0.5)
