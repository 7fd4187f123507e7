"""The ranks of a supervised stage: what each rank holds, and `grpo.supervised.loop`'s Ranks over Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic

from grpo.cluster.actor import RankPosition
from grpo.cluster.bundles import reserve
from grpo.cluster.placement import plan_placement
from grpo.cluster.ranks import RankGroup, start_ranks
from grpo.cluster.ray_session import cluster_dtype, cluster_nodes, put
from grpo.config.adapter import for_ranks
from grpo.config.supervised import SupervisedConfig
from grpo.training.checkpoint import EXAMPLES, Checkpoint
from grpo.training.item import ItemT
from rollout.vllm_settings import hidden_size

if TYPE_CHECKING:
    from grpo.training.supervised_learner import ObjectiveFactory, SupervisedLearner


@dataclass(frozen=True)
class SupervisedLearnerFactory(Generic[ItemT]):
    """Makes the learner of a rank; picklable."""

    config: SupervisedConfig
    """The stage's, with policy.compute_dtype resolved."""
    objective: ObjectiveFactory[ItemT]
    """Makes what is learnt."""
    model_dir: Path
    """As every node sees it."""
    total_steps: int
    """Updates of the whole run."""

    def __call__(self, position: RankPosition) -> SupervisedLearner[ItemT]:
        """Load the policy.

        Raises:
            PolicyError: the folder cannot be loaded.
        """
        from grpo.training.supervised_learner import SupervisedLearner

        return SupervisedLearner(
            policy=self.config.policy,
            optimizer=self.config.optimizer,
            learner=self.config.learner,
            objective=self.objective,
            model_path=self.model_dir,
            total_steps=self.total_steps,
            seed=self.config.seed,
            rank=position.rank,
            device=position.device,
            router=self.config.router,
        )


class SupervisedRanks(RankGroup):
    """All ranks, seen from the loop. Items are whatever the stage's objective takes; they are only passed on here."""

    def update(self, batch: Sequence[object], step: int) -> dict[str, float]:
        """Make one optimizer update; see `SupervisedLearner.update`."""
        metrics: dict[str, float] = self.call_all("update", put(list(batch)), step)
        return metrics

    def evaluate(self, items: object) -> dict[str, float]:
        """Return held-out metrics; see `SupervisedLearner.evaluate`. Takes items, or what `put` gave for them."""
        metrics: dict[str, float] = self.call_all("evaluate", items)
        return metrics

    def save(self, step: int, examples: int, protected: Sequence[int]) -> None:
        """Have rank 0 write a checkpoint with the examples taken so far, and delete old ones but the protected."""
        self.save_checkpoint(step, {EXAMPLES: examples}, protected)


def start_supervised(
    config: SupervisedConfig,
    objective: ObjectiveFactory[ItemT],
    model_dir: Path,
    total_steps: int,
    checkpoint: Checkpoint | None,
) -> SupervisedRanks:
    """Start all ranks and wait until each has loaded the policy; inside `grpo.cluster.ray_session.connect`.

    Raises:
        RunError, PolicyError: what a rank could not load, or there are too few GPUs.
    """
    nodes = cluster_nodes()
    compute_dtype = cluster_dtype(config.policy.compute_dtype, hidden_size(model_dir), nodes)
    policy = for_ranks(config.policy, compute_dtype)
    placement = plan_placement(nodes, config.learner, None)
    reserved = reserve(placement, nodes)
    make = SupervisedLearnerFactory(
        config=config.model_copy(update={"policy": policy}),
        objective=objective,
        model_dir=model_dir.absolute(),
        total_steps=total_steps,
    )
    actors = start_ranks(
        make,
        seats=[reserved.options(seat) for seat in placement.ranks],
        threads=placement.learner_threads,
        resume_from=checkpoint.path.absolute() if checkpoint else None,
    )
    ranks = SupervisedRanks(actors, config.run_dir, config.checkpoint.keep)
    ranks.open()
    return ranks
