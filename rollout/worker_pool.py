"""Rollout workers as the dispatcher sees them: a few verbs, and events. `rollout.actor.RayWorkers` is the
real pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rollout.publication import Publication, SyncReport
from rollout.types import RolloutChunk, SampleGroup


@dataclass(frozen=True)
class Ready:
    """The worker has started and waits for work."""

    worker: int


@dataclass(frozen=True)
class Delivered:
    """The worker has finished a group of the chunk that it was given under this ticket."""

    worker: int
    ticket: int
    group: SampleGroup


@dataclass(frozen=True)
class Finished:
    """The worker has finished the chunk."""

    worker: int
    ticket: int


@dataclass(frozen=True)
class Died:
    """The worker is gone."""

    worker: int
    cause: str


@dataclass(frozen=True)
class Failed:
    """The worker lives, but the chunk, or its own start, raised what a retry would raise again."""

    worker: int
    ticket: int
    """0 for its start."""
    error: Exception


Event = Ready | Delivered | Finished | Died | Failed


class WorkerPool(Protocol):
    """Workers 0 … size-1, all starting when the pool is made. Only `wait` and `load` block."""

    size: int

    def submit(self, worker: int, ticket: int, chunk: RolloutChunk) -> None:
        """Start a chunk on a ready worker."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What has happened, in order per worker; empty after `timeout_s` without news."""

    def load(self, workers: Sequence[int], publication: Publication) -> dict[int, SyncReport | Died]:
        """Load weights into these workers, side by side.

        Raises:
            WeightSyncError: a worker does not hold what was published.
        """

    def kill(self, worker: int) -> None:
        """End the worker's process; no further event of it arrives."""

    def restart(self, worker: int) -> None:
        """Start it anew; `Ready` or `Died` follows."""
