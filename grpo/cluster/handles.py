"""The rollout and reward workers as the loop sees them: `grpo.rl.loop`'s Rollouts and Rewards, over Ray.

Weights never pass through here: a handle moves token ids, scores and references.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast  # Any: ray.remote, called with options

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from grpo.cluster.bundles import LEAST_MEMORY
from grpo.cluster.ray_session import get
from grpo.common.errors import RunError
from policies.json_types import JsonDict
from rewards.config import AuditConfig, RewardConfig
from rewards.scoring.actor import RewardWorker
from rewards.types import ScoredGroup
from rollout.actor import RayWorkers
from rollout.dispatch import Dispatcher
from rollout.gang import RemoteMethod
from rollout.ledger import LedgerRow
from rollout.publication import Publication
from rollout.types import RolloutChunk, SampleGroup

REWARD_TIMEOUT_S = 7200.0
"""Longest wait for the next scored group. Every row has the deadline of its recipe, so this one is for lost workers."""
_TAKES = 4
"""Waits that the reward worker serves side by side; they have threads of their own, so that none delays a submit."""
CLOSE_TIMEOUT_S = 20.0
"""Longest wait for the reward processes to end before the actor is killed."""


class TakeMethod(RemoteMethod[list[ScoredGroup]], Protocol):
    """A `RewardWorker`'s `take` on Ray."""

    def options(self, *, concurrency_group: str) -> RemoteMethod[list[ScoredGroup]]:
        """Return the method with Ray's options for a call."""


class RewardActor(Protocol):
    """A `RewardWorker` on Ray."""

    submit: RemoteMethod[int]
    take: TakeMethod
    close: RemoteMethod[None]


class RewardHandle:
    """The reward worker, seen from the loop (`grpo.rl.loop.Rewards`)."""

    def __init__(self, worker: RewardActor) -> None:
        """Take the worker."""
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
        # On the driver's node, whose loss ends the run anyway, so that the loss of another does not.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options: JsonDict = {
            "num_cpus": 0,
            "concurrency_groups": {"take": _TAKES},
            "scheduling_strategy": here,
            "memory": LEAST_MEMORY,
        }
        actor: Any = ray.remote(**options)(RewardWorker)
        return cls(actor.remote(rewards, workers, audit=audit))

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> ray.ObjectRef[int]:
        """Start scoring beside what was submitted before; returns a ticket."""
        return self._worker.submit.remote(groups, stage, step)

    def collect(self, tickets: Sequence[ray.ObjectRef[int]]) -> list[ScoredGroup]:
        """Return the scored groups of all tickets. Each row has a deadline of its own inside the worker.

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
            get([self._worker.close.remote()], "reward worker", CLOSE_TIMEOUT_S)
        ray.kill(cast("ray.actor.ActorHandle[object]", self._worker))  # which gives no attribute a type


class RolloutHandle:
    """The rollout workers, seen from the loop (`grpo.rl.loop.Rollouts`)."""

    def __init__(self, pool: RayWorkers, dispatcher: Dispatcher, takes_turns: bool) -> None:
        """Take the workers; `takes_turns` says that a learner computes on the same devices."""
        self._pool = pool
        self._dispatcher = dispatcher
        self._takes_turns = takes_turns

    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        """See `Dispatcher.generate`."""
        return self._dispatcher.generate(chunks)

    def run(self, chunks: Sequence[RolloutChunk]) -> Iterator[tuple[str, SampleGroup]]:
        """See `Dispatcher.run`."""
        return self._dispatcher.run(chunks)

    def wait_started(self) -> None:
        """See `Dispatcher.wait_started`."""
        self._dispatcher.wait_started()

    def sleep(self) -> None:
        """See `Dispatcher.sleep`; engines with devices of their own keep their memory."""
        if self._takes_turns:
            self._dispatcher.sleep()

    def load(self, publication: Publication) -> None:
        """See `Dispatcher.load`."""
        self._dispatcher.load(publication)

    @property
    def restarts(self) -> int:
        """Count the workers that had to be started anew."""
        return self._dispatcher.restarts

    def ledger_rows(self) -> list[LedgerRow]:
        """Return every attempt at every chunk so far."""
        return self._dispatcher.ledger.rows()

    def close(self) -> None:
        """End the workers."""
        self._pool.close()
