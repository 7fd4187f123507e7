"""A placement on Ray: reserves its GPUs as placement groups and gives every actor its options.

seats = reserve(placement, nodes)              waits until the cluster has given every group, or names what is missing
Actor.options(**seats.options(seat))           an actor in its bundle
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from grpo.cluster.placement import Group, Node, Placement, Seat
from grpo.common.console import starting
from grpo.common.errors import RunError
from policies.json_types import JsonDict

RESERVE_TIMEOUT_S = 600.0
"""Longest wait for GPUs that other jobs hold."""
QUIET_S = 5.0
"""A wait is announced after so many seconds."""
LEAST_MEMORY = 1
"""Bytes that an actor without a GPU asks for; every node has some, and Ray limits no process by them."""
SHORTEST_S = 0.1
"""Time for Ray to answer about a group that is there already."""


@dataclass(frozen=True)
class ReservedSeats:
    """The reserved groups; they are Ray's to free when the driver ends."""

    nodes: Sequence[Node]
    groups: Sequence[PlacementGroup]

    def options(self, seat: Seat) -> JsonDict:
        """Return the Ray options of the actor in this seat. It asks for no logical CPU: its threads are set."""
        options: JsonDict = {"num_cpus": 0, "num_gpus": seat.gpus}
        if seat.group is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                self.groups[seat.group], placement_group_bundle_index=seat.bundle
            )
        elif seat.node is not None:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(
                self.nodes[seat.node].id, soft=True
            )
            # Ray puts an actor that asks for nothing on any node, whatever its strategy says.
            options["memory"] = LEAST_MEMORY
        return options


def reserve(
    placement: Placement, nodes: Sequence[Node], timeout_s: float = RESERVE_TIMEOUT_S
) -> ReservedSeats:
    """Reserve the GPUs of a placement.

    Args:
        placement, nodes: from `plan_placement`. A group whose node has no room any more may get another one.
        timeout_s: longest wait for all groups together.

    Raises:
        RunError: the cluster did not give them in time; names what is missing. Nothing stays reserved.
    """
    groups = [
        placement_group(
            [{"GPU": 1.0}] * group.gpus,
            strategy="STRICT_PACK",
            _soft_target_node_id=nodes[group.node].id,
        )
        for group in placement.groups
    ]
    deadline = time.monotonic() + timeout_s
    if not all(_wait(group, min(QUIET_S, timeout_s)) for group in groups):
        starting(f"waiting for GPUs: {_missing(placement.groups, groups)}")
    waiting = [group for group in groups if not _wait(group, max(SHORTEST_S, deadline - time.monotonic()))]
    if waiting:
        missing = _missing(placement.groups, groups)
        for group in groups:
            remove_placement_group(group)
        raise RunError(
            f"the cluster has not given the GPUs of this run within {timeout_s:g} s: {missing}. Other jobs hold them "
            "(`ray status` lists them); wait for these, or lower engine.workers or learner.ranks"
        )
    return ReservedSeats(nodes, groups)


def _wait(group: PlacementGroup, timeout_s: float) -> bool:
    return bool(group.wait(timeout_s))


def _missing(planned: Sequence[Group], groups: Sequence[PlacementGroup]) -> str:
    states = [placement_group_table(group)["state"] for group in groups]
    sizes = [want.gpus for want, state in zip(planned, states, strict=True) if state != "CREATED"]
    kinds = [f"{sizes.count(size)} × {size} GPU(s) of one node" for size in sorted(set(sizes), reverse=True)]
    free = int(ray.available_resources().get("GPU", 0))
    return f"{', '.join(kinds)} of {sum(want.gpus for want in planned)} wanted; {free} free now"
