"""Process groups of a mesh of learner ranks, as torch's DeviceMesh.

    ranks = Ranks.join(mesh_of(config.learner), rank, "cpu")      collective: every rank makes the same groups

Three views of one numbering (grpo/config/mesh.py): (replicate, shard · context) for what is divided over a whole copy,
(replicate, expert_parts, expert) for routed experts, and (data, context) for the tokens of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from grpo.config.mesh import Mesh
from policies.token_share import ContextGroup

COLLECTIVE_TIMEOUT_S = 900.0
"""Longest wait for the other ranks inside one collective. Ranks agree on the number of micro-batches, so they differ by
one micro-batch's work at most; loading a policy from a slow disk differs by more."""


@dataclass(frozen=True)
class Ranks:
    """This rank's place in the mesh, and the groups that it is in."""

    mesh: Mesh
    rank: int
    copy: DeviceMesh | None = None
    """("replicate", "shard"): the axes of every tensor but the routed experts'; None with one rank."""
    experts: DeviceMesh | None = None
    """("replicate", "expert_parts", "expert"); None without expert parallelism."""
    context: ContextGroup | None = None
    """The ranks that work on the same samples, each on a part of the tokens; None if no others do."""

    @classmethod
    def join(cls, mesh: Mesh, rank: int, device_type: str) -> Ranks:
        """Make the groups; every rank calls it, after torch.distributed is initialised.

        Raises:
            ValueError: torch.distributed has another number of ranks than the mesh.
        """
        if mesh.ranks == 1:
            return cls(mesh, rank)
        if dist.get_world_size() != mesh.ranks:
            raise ValueError(f"a mesh of {mesh.ranks} ranks in a group of {dist.get_world_size()}")
        copy = _device_mesh({"replicate": mesh.replicate, "shard": mesh.parts}, device_type)
        experts = None
        if mesh.expert > 1:
            axes = {"replicate": mesh.replicate, "expert_parts": mesh.expert_parts, "expert": mesh.expert}
            experts = _device_mesh(axes, device_type)
        context = None
        if mesh.context > 1:
            line = _device_mesh({"data": mesh.data, "context": mesh.context}, device_type)
            context = ContextGroup(line.get_group("context"), rank % mesh.context, mesh.context)
        return cls(mesh, rank, copy, experts, context)

    @property
    def is_sharded(self) -> bool:
        """True with more than one rank."""
        return self.copy is not None

    @property
    def copy_index(self) -> int:
        """Return the rank's number within its copy of the policy."""
        return self.rank % self.mesh.parts

    @property
    def reports(self) -> bool:
        """True on one rank of those that work on the same samples: sums over ranks count its metrics alone."""
        return self.rank % self.mesh.context == 0


def _device_mesh(axes: dict[str, int], device_type: str) -> DeviceMesh:
    """Make one group per line of ranks along each axis, with a deadline of its own: a default one is 30 minutes."""
    grid = torch.arange(dist.get_world_size()).view(*axes.values())
    groups = []
    for axis in range(grid.ndim):
        lines = grid.movedim(axis, -1).reshape(-1, grid.shape[axis]).tolist()
        own, _ = dist.new_subgroups_by_enumeration(lines, timeout=timedelta(seconds=COLLECTIVE_TIMEOUT_S))
        groups.append(own)
    return DeviceMesh.from_group(groups, device_type, mesh=grid, mesh_dim_names=tuple(axes))
