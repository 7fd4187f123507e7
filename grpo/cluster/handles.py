"""The actors as the loop sees them: `grpo.rl.loop`'s Rollouts, Rewards and Learners, over Ray.

Weights never pass through here: a handle moves token ids, scores and references.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

from grpo.algorithm.types import StepReport, TrainGroup
from grpo.cluster.ray_session import LEARNER_TIMEOUT_S, end_ranks, get
from grpo.common.errors import RunError
from grpo.config.rl import RlConfig
from grpo.rl.loop import LoopState
from rewards.types import ScoredGroup
from rollout.actor import RayWorkers
from rollout.dispatch import Dispatcher
from rollout.ledger import LedgerRow
from rollout.publication import Publication
from rollout.types import RolloutChunk, SampleGroup

REWARD_TIMEOUT_S = 7200.0
"""Longest scoring of a phase; each call inside has the deadline of its recipe, so this one never bites first."""


class RewardHandle:
    """The reward worker, seen from the loop (`grpo.rl.loop.Rewards`)."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Any:
        """Start scoring; returns a ticket."""
        return self._worker.score.remote(groups, stage, step)

    def collect(self, tickets: Sequence[Any]) -> list[ScoredGroup]:
        """The scored groups of all tickets. Each row has a deadline of its own inside the worker."""
        return [scored for groups in get(tickets, "reward worker", REWARD_TIMEOUT_S) for scored in groups]

    def close(self) -> None:
        """End the reward processes, then the actor."""
        with suppress(RunError):
            get([self._worker.close.remote()], "reward worker", 20.0)
        ray.kill(self._worker)


class LearnerGroup:
    """All learner ranks, seen from the loop (`grpo.rl.loop.Learners`): the same call on each, rank 0's answer."""

    def __init__(self, ranks: Sequence[Any], config: RlConfig) -> None:
        self._ranks = list(ranks)
        self._root = str((config.run_dir / "checkpoints").absolute())
        self._keep = config.checkpoint.keep

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """Old and reference log-probs of the phase; see `Learner.begin_phase`."""
        shared = ray.put(list(groups))
        return self._all(
            [r.begin_phase.remote(shared, step, temperature) for r in self._ranks], "begin_phase"
        )

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        """One optimizer update; see `Learner.update`."""
        shared = ray.put(list(mini_batch))
        return self._all([r.update.remote(shared, step, max_tokens) for r in self._ranks], "update")

    def publish(self, version: int) -> Publication:
        """Weights of this version, by rank 0."""
        return self._all([self._ranks[0].publish.remote(version)], "publish")

    def save(self, state: LoopState) -> None:
        """Checkpoint, by rank 0."""
        self._all([self._ranks[0].save.remote(self._root, state.step, state.extra(), self._keep)], "save")

    def export(self, folder: Path) -> None:
        """Write the policy for transformers and vLLM, by rank 0."""
        self._all([self._ranks[0].export.remote(str(folder.absolute()))], "export")

    def close(self) -> None:
        """Remove published weights, end the ranks."""
        end_ranks(self._ranks)

    @staticmethod
    def _all(references: Sequence[Any], what: str) -> Any:
        return get(references, f"learner {what}", LEARNER_TIMEOUT_S)[0]


class RolloutHandle:
    """The rollout workers, seen from the loop (`grpo.rl.loop.Rollouts`)."""

    def __init__(self, pool: RayWorkers, dispatcher: Dispatcher) -> None:
        self._pool = pool
        self._dispatcher = dispatcher

    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        """See `Dispatcher.generate`."""
        return self._dispatcher.generate(chunks)

    def run(self, chunks: Sequence[RolloutChunk]) -> Iterator[tuple[str, SampleGroup]]:
        """See `Dispatcher.run`."""
        return self._dispatcher.run(chunks)

    def wait_started(self) -> None:
        """See `Dispatcher.wait_started`."""
        self._dispatcher.wait_started()

    def load(self, publication: Publication) -> None:
        """See `Dispatcher.load`."""
        self._dispatcher.load(publication)

    @property
    def restarts(self) -> int:
        """How many workers had to be started anew."""
        return self._dispatcher.restarts

    def ledger_rows(self) -> list[LedgerRow]:
        """Every attempt at every chunk so far."""
        return self._dispatcher.ledger.rows()

    def close(self) -> None:
        """End the workers."""
        self._pool.close()
