"""Placements on a real Ray with logical GPUs: actors run on the GPUs that the plan names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray
from ray.cluster_utils import Cluster

from grpo.cluster.bundles import reserve
from grpo.cluster.placement import Node, Placement, plan_placement
from grpo.cluster.ray_session import cluster_nodes
from grpo.common.errors import RunError
from grpo.config.sections import LearnerConfig
from rollout.config import EngineConfig

pytestmark = pytest.mark.ray
GPUS = (4, 4, 2)


@ray.remote
class Witness:
    """Reports where it runs."""

    def where(self) -> tuple[str, list[int]]:
        context = ray.get_runtime_context()
        return context.get_node_id(), [int(i) for i in context.get_accelerator_ids()["GPU"]]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    cluster = Cluster(
        initialize_head=True,
        connect=True,
        head_node_args={"num_cpus": 1, "num_gpus": GPUS[0], "object_store_memory": 80 * 2**20},
    )
    for count in GPUS[1:]:
        cluster.add_node(num_cpus=1, num_gpus=count, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes()
    yield cluster_nodes()
    ray.shutdown()
    cluster.shutdown()


def seated(
    placement: Placement, nodes: list[Node]
) -> tuple[list[list[tuple[str, int]]], list[tuple[str, int]]]:
    """(node, GPU) of every engine's actors and of every rank, as the actors report them."""
    seats = reserve(placement, nodes, timeout_s=30)
    actors = [[Witness.options(**seats.options(seat)).remote() for seat in own] for own in placement.engines]
    ranks = [Witness.options(**seats.options(seat)).remote() for seat in placement.ranks]
    everyone = [*(actor for own in actors for actor in own), *ranks]
    found = iter(ray.get([actor.where.remote() for actor in everyone], timeout=60))
    places = [(node, gpu) for node, (gpu,) in found]
    for actor in everyone:
        ray.kill(actor)
    for group in seats.groups:
        ray.util.remove_placement_group(group)
    answers = iter(places)
    return [[next(answers) for _ in own] for own in placement.engines], list(answers)


def test_colocated_actors_share_the_gpus_that_the_plan_names(nodes: list[Node]) -> None:
    engine = EngineConfig(workers=2, tensor_parallel=2)
    placement = plan_placement(nodes, LearnerConfig(ranks=6), engine, "colocated")
    engines, ranks = seated(placement, nodes)
    for own, seats in zip(engines, placement.engines, strict=True):
        planned = {nodes[placement.groups[seat.group].node].id for seat in seats if seat.group is not None}
        assert {node for node, _ in own} == planned
        assert len(set(own)) == 2, "two parts of an engine on one GPU"
    assert len(set(ranks)) == 6, "two ranks on one GPU"
    assert {place for own in engines for place in own} <= set(ranks)
    assert [nodes[placement.groups[seat.group].node].id for seat in placement.ranks] == [n for n, _ in ranks]


def test_what_other_jobs_hold_is_named_and_nothing_stays_reserved(nodes: list[Node]) -> None:
    holder = reserve(plan_placement(nodes, LearnerConfig(ranks=7), None), nodes, timeout_s=30)
    wanted = plan_placement(nodes, LearnerConfig(ranks=1), EngineConfig(workers=1, tensor_parallel=4))
    with pytest.raises(RunError, match=r"within 0\.5 s: 1 × 4 GPU\(s\) of one node of 5 wanted; 2 free now"):
        reserve(wanted, nodes, timeout_s=0.5)
    for group in holder.groups:
        ray.util.remove_placement_group(group)
    # Disaggregated: the same request now gets what it wants.
    (engine,), ranks = seated(wanted, nodes)
    assert len({node for node, _ in engine}) == 1
    assert not set(engine) & set(ranks)


def test_actors_without_a_gpu_run_on_the_nodes_that_the_plan_names(nodes: list[Node]) -> None:
    without = [replace(node, gpus=0) for node in nodes]
    placement = plan_placement(without, LearnerConfig(ranks=3), EngineConfig(workers=4), "disaggregated")
    seats = reserve(placement, without)
    wanted = [*placement.ranks, *(seat for own in placement.engines for seat in own)]
    actors = [Witness.options(**seats.options(seat)).remote() for seat in wanted]
    found = [node for node, _ in ray.get([actor.where.remote() for actor in actors], timeout=60)]
    assert found == [without[seat.node].id for seat in wanted if seat.node is not None]
    for actor in actors:
        ray.kill(actor)
