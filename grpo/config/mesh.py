"""How the learner's ranks divide the policy and the work: one plan object, checked without torch.

    mesh = mesh_of(config.learner)        Mesh(replicate=1, shard=8, expert=1)
    check_mesh(mesh, config_json)         the policy's experts divide over the expert axis

Rank r · shard + s is the s-th of copy r. The ranks of a copy hold one policy together, each a part of every tensor, and
every rank works on its own samples. Expert parallelism takes its ranks from those of a copy: `expert` consecutive ranks
share out the experts of a layer, and each expert's tensors are divided over the shard / expert ranks that hold the same
experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from grpo.common.errors import ConfigError
from policies.json_types import JsonMapping
from policies.settings import Operational, Settings

if TYPE_CHECKING:
    from grpo.config.sections import LearnerConfig


class MeshConfig(Settings):
    """How the learner's ranks divide policy and work. Without it all ranks together hold one copy of the policy."""

    replicate: Operational[int] = Field(1, ge=1)
    """Copies of the policy: ranks / replicate ranks hold one together. More copies need more memory and less traffic
    between nodes; set it to the number of nodes if one node holds a copy."""
    expert: Operational[int] = Field(1, ge=1)
    """Ranks of a copy that share out the routed experts of each layer; the tokens travel to their experts. 1: every
    rank gathers all experts of a layer when it computes the layer."""


@dataclass(frozen=True)
class Mesh:
    """The axes of the learner's ranks; made by `mesh_of`, which checks them."""

    replicate: int = 1
    """Copies of the policy."""
    shard: int = 1
    """Ranks of one copy: a tensor's bytes per rank are 1/shard, those of routed experts too."""
    expert: int = 1
    """Ranks of one copy that share out the routed experts."""

    @property
    def ranks(self) -> int:
        """Number of ranks; a batch is divided over all of them."""
        return self.replicate * self.shard

    @property
    def expert_parts(self) -> int:
        """Ranks that a single routed expert's tensors are divided over; times `expert` this is `shard`."""
        return self.shard // self.expert


def mesh_of(learner: LearnerConfig) -> Mesh:
    """Return the mesh of a recipe's [learner].

    Raises:
        ConfigError: the axes do not divide the ranks; names the key and the values that fit.
    """
    wanted, ranks = learner.mesh, learner.ranks
    if ranks % wanted.replicate:
        raise ConfigError(
            f"learner.mesh.replicate = {wanted.replicate} does not divide learner.ranks = {ranks}; set it to one of "
            f"{_listed(divisors(ranks))}, or learner.ranks to a multiple of {wanted.replicate}"
        )
    mesh = Mesh(replicate=wanted.replicate, shard=ranks // wanted.replicate, expert=wanted.expert)
    if mesh.shard % mesh.expert:
        raise ConfigError(
            f"learner.mesh.expert = {mesh.expert} does not divide the {mesh.shard} rank(s) that hold one copy of the "
            f"policy (learner.ranks = {ranks} / learner.mesh.replicate = {mesh.replicate}); set it to one of "
            f"{_listed(divisors(mesh.shard))}"
        )
    return mesh


def check_mesh(mesh: Mesh, config: JsonMapping) -> None:
    """Check the mesh against a policy's config.json.

    Raises:
        ConfigError: the policy's experts do not divide over the expert axis; names the key and the values that fit.
    """
    if mesh.expert == 1:
        return
    experts = int(config.get("n_routed_experts") or 0)
    if not experts:
        raise ConfigError(
            f"learner.mesh.expert = {mesh.expert}, but the policy ({config.get('model_type')}) has no routed experts; "
            "leave it at 1"
        )
    if experts % mesh.expert:
        fitting = [n for n in divisors(mesh.shard) if experts % n == 0]
        raise ConfigError(
            f"learner.mesh.expert = {mesh.expert} does not divide the policy's {experts} routed experts; with "
            f"{mesh.shard} ranks per copy set it to one of {_listed(fitting)}"
        )
    for key, width in (
        ("moe_intermediate_size", 2 * int(config.get("moe_intermediate_size") or 0)),
        ("hidden_size", int(config.get("hidden_size") or 0)),
    ):
        if width % mesh.expert_parts:
            raise ConfigError(
                f"learner.mesh.expert = {mesh.expert} leaves {mesh.expert_parts} ranks for an expert's tensors, "
                f"which do not divide the policy's {key} ({width} rows); raise learner.mesh.expert or change "
                "learner.ranks"
            )


def divisors(number: int) -> list[int]:
    """Return all divisors, ascending."""
    return [n for n in range(1, number + 1) if number % n == 0]


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
