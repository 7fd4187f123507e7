"""The actors as the loop sees them: `grpo.rl.loop`'s Rollouts, Rewards and Learners, over Ray.

Weights never pass through here: a handle moves token ids, scores and references.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from grpo.algorithm.types import StepReport, TrainGroup
from grpo.cluster.ray_session import LEARNER_TIMEOUT_S, end_ranks, get
from grpo.common.errors import RunError
from grpo.config.rl import RlConfig
from grpo.rl.loop import LoopState
from rewards.config import AuditConfig, RewardConfig
from rewards.scoring.actor import RewardWorker
from rewards.types import ScoredGroup
from rollout.actor import RayWorkers
from rollout.dispatch import Dispatcher
from rollout.publication import Publication
from rollout.types import RolloutChunk, SampleGroup

REWARD_TIMEOUT_S = 7200.0
"""Longest wait for the next scored group. Every row has the deadline of its recipe, so this one is for lost workers."""
_TAKES = 4
"""Waits that the reward worker serves side by side; they have threads of their own, so that none delays a submit."""


class RewardHandle:
    """The reward worker, seen from the loop (`grpo.rl.loop.Rewards`)."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    @classmethod
    def start(
        cls, rewards: Sequence[RewardConfig], workers: int, audit: AuditConfig | None = None
    ) -> RewardHandle:
        """Start the actor, without waiting for it.

        Args:
            rewards: components of the total; paths absolute.
            workers: processes per reward.
            audit: the second verifier.
        """
        # Submits are calls of one thread, which Ray runs in order: what a list-wise reward sees is reproducible.
        remote: Any = ray.remote(num_cpus=0, concurrency_groups={"take": _TAKES})(RewardWorker)
        return cls(remote.remote(rewards, workers, audit=audit))

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Any:
        """Start scoring beside what was submitted before; returns a ticket."""
        return self._worker.submit.remote(groups, stage, step)

    def collect(self, tickets: Sequence[Any]) -> list[ScoredGroup]:
        """The scored groups of all tickets. Each row has a deadline of its own inside the worker.

        Raises:
            RunError: the worker died, or no further group came back in time.
        """
        numbers = get(tickets, "reward worker", REWARD_TIMEOUT_S)
        take = self._worker.take.options(concurrency_group="take")
        references = [take.remote(number) for number in numbers]
        scored: list[ScoredGroup] = []
        for reference in references:
            scored += get([reference], "reward worker", REWARD_TIMEOUT_S)[0]
        return scored

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

    def ledger_rows(self) -> list[dict[str, Any]]:
        """Every attempt at every chunk so far."""
        return [asdict(row) for row in self._dispatcher.ledger.rows()]

    def close(self) -> None:
        """End the workers."""
        self._pool.close()
