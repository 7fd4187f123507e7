"""The rollout and reward workers as the loop sees them: `grpo.rl.loop`'s Rollouts and Rewards, over Ray.

Weights never pass through here: a handle moves token ids, scores and references.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import ray

from grpo.cluster.ray_session import get
from grpo.common.errors import RunError
from rewards.types import ScoredGroup
from rollout.actor import RayWorkers
from rollout.dispatch import Dispatcher
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
