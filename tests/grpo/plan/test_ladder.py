"""The recipes for GPUs: each fits its machine by plan, and its mesh fits its policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from grpo.common.config_io import shipped_recipes
from grpo.config.mesh import check_mesh, mesh_of
from grpo.graph.parse import Graph, load_graph
from grpo.memory.demand import Machine
from grpo.memory.fit import problem
from grpo.memory.model import GIB
from grpo.plan.plan import cluster_plan, policies
from rollout.engine_limits import split_refusal

LADDER = ("gpu-1-lora", "gpu-1-full", "gpu-8", "gpu-32-dense", "gpu-32-moe", "gpu-256")
MACHINES = {"gpu-1-lora": (1, 24), "gpu-1-full": (1, 24), "gpu-8": (8, 80), "gpu-256": (256, 80)}


def trained(graph: Graph) -> Iterator[Any]:
    """The stages with learner ranks and a known policy."""
    for node in graph.nodes.values():
        if hasattr(node.config, "learner"):
            yield node


def test_every_recipe_for_gpus_is_on_the_ladder() -> None:
    assert {name for name in shipped_recipes() if re.match(r"gpu-\d", name)} == set(LADDER)


@pytest.mark.parametrize("name", [*LADDER, "r1"])
def test_every_stage_fits_the_machine_that_its_recipe_names(name: str) -> None:
    graph = load_graph(name)
    machine = graph.recipe.plan.machine
    assert machine is not None
    assert MACHINES.get(name, (machine.gpus, 80)) == (machine.gpus, machine.memory_gib)
    lines = cluster_plan(graph, machine)
    planned = [line for line in lines if line.memory is not None]
    assert len(planned) == len(
        [n for n in graph.nodes.values() if hasattr(n.config, "engine") or hasattr(n.config, "learner")]
    )
    for line in planned:
        assert line.memory is not None
        for demand in line.memory.demands:
            assert demand.bytes <= demand.limit, f"{line.node.name}: {demand}"


@pytest.mark.parametrize("name", [*LADDER, "r1"])
def test_the_mesh_fits_the_policy_and_the_machine(name: str) -> None:
    graph = load_graph(name)
    machine = graph.recipe.plan.machine
    assert machine is not None
    known = policies(graph)
    for node in trained(graph):
        policy = known[node.name]
        assert policy is not None
        check_mesh(mesh_of(node.config.learner), policy)
        assert node.config.learner.ranks <= machine.gpus
        engine = getattr(node.config, "engine", None)
        if engine is not None:
            assert split_refusal(policy, engine.tensor_parallel, engine.expert_parallel) is None
            assert engine.tensor_parallel % engine.nodes == 0
            assert engine.workers * engine.tensor_parallel == machine.gpus


def test_half_the_machine_does_not_fit_what_needs_it_all() -> None:
    """The ladder says something: on smaller GPUs the same recipes are refused."""
    for name, gib in (("gpu-1-full", 16), ("gpu-32-dense", 40), ("gpu-256", 40)):
        graph = load_graph(name)
        machine = graph.recipe.plan.machine
        assert machine is not None
        for line in cluster_plan(graph, machine):
            assert line.memory is not None
            assert problem(line.memory.shape, Machine(machine.gpus, gib * GIB, "smaller")) is not None
