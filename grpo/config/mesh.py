"""How the learner's ranks divide the policy and the work: one plan object, checked without torch.

    mesh = mesh_of(config.learner)        Mesh(replicate=1, shard=8, context=1, expert=1)
    check_mesh(mesh, config_json)         the policy's experts divide over the expert axis

Ranks are numbered with the context axis fastest, then shard, then replicate: rank = (r · shard + s) · context + c. The
ranks of one replica (shard × context of them) hold one copy of the policy together, each a part of every tensor. Expert
parallelism takes its ranks from those of a replica: `expert` consecutive ranks share out the experts of a layer, and
each expert's tensors are then divided over the shard · context / expert ranks that hold the same experts.
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
    context: Operational[int] = Field(1, ge=1)
    """Ranks that divide the tokens of every micro-batch among them, for completions too long for one rank's memory.
    They give each other keys and values in every layer: keep them inside one node."""
    expert: Operational[int] = Field(1, ge=1)
    """Ranks of a copy that share out the routed experts of each layer; the tokens travel to their experts. 1: every
    rank gathers all experts of a layer when it computes the layer."""


@dataclass(frozen=True)
class Mesh:
    """The axes of the learner's ranks; made by `mesh_of`, which checks them."""

    replicate: int = 1
    """Copies of the policy."""
    shard: int = 1
    """Ranks of one copy that work on different samples."""
    context: int = 1
    """Ranks that work on the same samples, each on a part of the tokens."""
    expert: int = 1
    """Ranks of one copy that share out the routed experts."""

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.replicate * self.shard * self.context

    @property
    def data(self) -> int:
        """Number of parts into which a batch is divided."""
        return self.replicate * self.shard

    @property
    def parts(self) -> int:
        """Ranks that a tensor outside the routed experts is divided over: its bytes per rank are 1/parts."""
        return self.shard * self.context

    @property
    def expert_parts(self) -> int:
        """Ranks that a single routed expert's tensors are divided over; times `expert` this is `parts`."""
        return self.parts // self.expert

    def data_index(self, rank: int) -> int:
        """Return which part of a batch the rank works on; the ranks of a context axis have the same."""
        return rank // self.context


def mesh_of(learner: LearnerConfig) -> Mesh:
    """Return the mesh of a recipe's [learner].

    Raises:
        ConfigError: the axes do not divide the ranks; names the key and the values that fit.
    """
    wanted, ranks = learner.mesh, learner.ranks
    copies = wanted.replicate * wanted.context
    if ranks % copies:
        axes = " × ".join(
            f"learner.mesh.{name} = {value}"
            for name, value in (("replicate", wanted.replicate), ("context", wanted.context))
            if value > 1
        )
        raise ConfigError(
            f"{axes} does not divide learner.ranks = {ranks}; set learner.ranks to a multiple of {copies}, or "
            f"choose divisors of {ranks}: {_listed(divisors(ranks))}"
        )
    mesh = Mesh(
        replicate=wanted.replicate, shard=ranks // copies, context=wanted.context, expert=wanted.expert
    )
    if mesh.parts % mesh.expert:
        raise ConfigError(
            f"learner.mesh.expert = {mesh.expert} does not divide the {mesh.parts} rank(s) that hold one copy of the "
            f"policy (learner.ranks = {ranks} / learner.mesh.replicate = {mesh.replicate}); set it to one of "
            f"{_listed(divisors(mesh.parts))}"
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
        fitting = [n for n in divisors(mesh.parts) if experts % n == 0]
        raise ConfigError(
            f"learner.mesh.expert = {mesh.expert} does not divide the policy's {experts} routed experts; with "
            f"{mesh.parts} ranks per copy set it to one of {_listed(fitting)}"
        )
    for key, width in (
        ("moe_intermediate_size", 2 * int(config.get("moe_intermediate_size") or 0)),
        ("hidden_size", int(config.get("hidden_size") or 0)),
    ):
        if width % mesh.expert_parts:
            raise ConfigError(
                f"learner.mesh.expert = {mesh.expert} leaves {mesh.expert_parts} ranks for each expert's tensors, "
                f"which do not divide the policy's {key} ({width} rows); raise learner.mesh.expert or change "
                "learner.ranks"
            )


def check_launch(learner: LearnerConfig, config: JsonMapping) -> None:
    """Check the mesh of a run that is about to start against its policy's config.json.

    Raises:
        ConfigError: as `mesh_of` and `check_mesh`.
    """
    check_mesh(mesh_of(learner), config)


def divisors(number: int) -> list[int]:
    """Return all divisors, ascending."""
    return [n for n in range(1, number + 1) if number % n == 0]


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
