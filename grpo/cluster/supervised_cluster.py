"""The ranks of a supervised stage on Ray: starts them, and makes the same call on each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpo.cluster.actor import SupervisedWorker
from grpo.cluster.ray_session import (
    LEARNER_TIMEOUT_S,
    end_ranks,
    get,
    open_ranks,
    put,
    resources,
    start_ranks,
)
from grpo.config.supervised import SupervisedConfig
from grpo.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from grpo.training.supervised_learner import ObjectiveFactory


class SupervisedRanks:
    """All ranks: the same call on each, rank 0's answer."""

    def __init__(self, ranks: Sequence[Any], config: SupervisedConfig) -> None:
        self._ranks = list(ranks)
        self._root = str((config.run_dir / "checkpoints").absolute())
        self._keep = config.checkpoint.keep

    def update(self, batch: Sequence[Any], step: int) -> dict[str, float]:
        """See `SupervisedLearner.update`."""
        shared = put(list(batch))
        return _all([r.update.remote(shared, step) for r in self._ranks], "update")

    def evaluate(self, items: Any) -> dict[str, float]:
        """See `SupervisedLearner.evaluate`; items, or what `share` gave for them."""
        return _all([r.evaluate.remote(items) for r in self._ranks], "evaluate")

    def save(self, step: int) -> None:
        """Checkpoint, by rank 0."""
        _all([self._ranks[0].save.remote(self._root, step, {}, self._keep)], "save")

    def export(self, folder: Path) -> None:
        """Write the policy for transformers and vLLM, by rank 0."""
        _all([self._ranks[0].export.remote(str(folder.absolute()))], "export")

    def close(self) -> None:
        """End the ranks."""
        end_ranks(self._ranks)


def start_supervised(
    config: SupervisedConfig,
    objective: ObjectiveFactory,
    model_dir: Path,
    compute_dtype: str,
    total_steps: int,
    checkpoint: Checkpoint | None,
) -> SupervisedRanks:
    """Start all ranks and wait until each has loaded the policy; inside `grpo.cluster.ray_session.connect`.

    Raises:
        RunError, PolicyError: what a rank could not load.
    """
    cores, gpus = resources()
    ranks = config.learner.ranks
    policy = config.policy.model_copy(update={"compute_dtype": compute_dtype})

    def arguments(rank: int) -> tuple[Any, ...]:
        return (
            config.model_copy(update={"policy": policy}),
            objective,
            str(model_dir.absolute()),
            total_steps,
            rank,
            config.learner.threads or max(1, cores // ranks),
            str(checkpoint.path.absolute()) if checkpoint else None,
        )

    actors = start_ranks(SupervisedWorker, ranks, min(1.0, gpus / ranks), arguments)
    group = SupervisedRanks(actors, config)
    try:
        open_ranks(actors)
    except BaseException:
        group.close()
        raise
    return group


def _all(references: Sequence[Any], what: str) -> Any:
    return get(references, f"learner {what}", LEARNER_TIMEOUT_S)[0]
