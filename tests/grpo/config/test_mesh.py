"""The mesh of learner ranks: axes that multiply up, errors that name the key and a fix that works."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from grpo.common.errors import ConfigError
from grpo.config.mesh import Mesh, MeshConfig, check_mesh, divisors, mesh_of
from grpo.config.sections import LearnerConfig

V3 = {"model_type": "deepseek_v3", "n_routed_experts": 8, "hidden_size": 72, "moe_intermediate_size": 36}
axis = st.integers(1, 6)


@given(replicate=axis, shard=axis, context=axis, data=st.data())
def test_the_axes_of_a_mesh_multiply_up_to_the_ranks_and_expert_parts_to_the_copy(
    replicate: int, shard: int, context: int, data: st.DataObject
) -> None:
    expert = data.draw(st.sampled_from(divisors(shard * context)))
    ranks = replicate * shard * context
    learner = LearnerConfig(ranks=ranks, mesh=MeshConfig(replicate=replicate, context=context, expert=expert))
    mesh = mesh_of(learner)
    assert mesh == Mesh(replicate, shard, context, expert)
    assert mesh.ranks == ranks
    assert mesh.expert * mesh.expert_parts == mesh.parts
    assert mesh.parts * mesh.replicate == ranks
    # Every part of a batch has `context` ranks.
    assert sorted(mesh.data_index(rank) for rank in range(ranks)) == sorted(list(range(mesh.data)) * context)


@given(ranks=st.integers(1, 24), replicate=axis, context=axis, expert=axis)
def test_axes_that_do_not_divide_are_an_error_that_names_key_and_fix(
    ranks: int, replicate: int, context: int, expert: int
) -> None:
    divides = ranks % (replicate * context) == 0 and (ranks // replicate) % expert == 0
    mesh = MeshConfig(replicate=replicate, context=context, expert=expert)
    if divides:
        LearnerConfig(ranks=ranks, mesh=mesh)
        return
    with pytest.raises(ValidationError, match=r"learner\.mesh\.\w+ = \d+.*does not divide.*set ") as error:
        LearnerConfig(ranks=ranks, mesh=mesh)
    assert f"learner.ranks = {ranks}" in str(error.value)


def test_ranks_without_a_mesh_hold_one_copy_together() -> None:
    assert mesh_of(LearnerConfig(ranks=8)) == Mesh(shard=8)
    assert mesh_of(LearnerConfig()) == Mesh()


@pytest.mark.parametrize(
    ("mesh", "config", "message"),
    [
        (Mesh(shard=6, expert=3), V3, r"= 3 does not divide the policy's 8 routed experts.* 1, 2$"),
        (Mesh(shard=10, expert=2), V3, r"= 2 leaves 5 ranks .*moe_intermediate_size \(72 rows\)"),
        (Mesh(shard=2, expert=2), {"model_type": "llama"}, r"\(llama\) has no routed experts; leave it at 1"),
    ],
)
def test_experts_that_do_not_divide_are_refused(mesh: Mesh, config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^learner.mesh.*{message}"):
        check_mesh(mesh, config)


def test_the_error_about_experts_offers_only_values_that_fit() -> None:
    with pytest.raises(ConfigError) as error:
        check_mesh(Mesh(shard=12, expert=12), V3)
    offered = [int(n) for n in re.findall(r"\d+", str(error.value).split("one of")[1])]
    assert offered == [1, 2, 4]
    for expert in offered:
        check_mesh(Mesh(shard=12, expert=expert), V3)
    check_mesh(Mesh(shard=8), {"model_type": "llama"})
