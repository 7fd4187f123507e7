"""The dispatcher's interface to rollout workers: commands and events. `rollout.actor.RayWorkers` implements it."""

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
    """The worker has finished one group of the chunk that was submitted with this ticket."""

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
    """The worker's process has ended, or was killed because of an error."""

    worker: int
    cause: str
    ran: bool = True
    """False: its node was gone before the process began, which says nothing about the worker."""


@dataclass(frozen=True)
class Failed:
    """The worker lives, but its chunk or its start raised an error that a retry would raise again."""

    worker: int
    ticket: int
    """Ticket of the chunk; 0 for an error at the start."""
    error: Exception


Event = Ready | Delivered | Finished | Died | Failed


class WorkerPool(Protocol):
    """Workers 0 … size-1, all starting when the pool is created. Only `wait` and `load` block."""

    size: int

    def submit(self, worker: int, ticket: int, chunk: RolloutChunk) -> None:
        """Start a chunk on a ready worker."""

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Return new events, in order per worker; none if nothing happened within `timeout_s` seconds."""

    def load(self, workers: Sequence[int], publication: Publication) -> dict[int, SyncReport | Died]:
        """Load weights into these workers in parallel.

        Raises:
            WeightSyncError: a worker does not hold what was published.
        """

    def sleep(self, workers: Sequence[int]) -> dict[int, Died | None]:
        """Let these workers free what a learner on the same devices needs, until the next `load`."""

    def kill(self, worker: int) -> None:
        """End the worker's process; no further event of it arrives."""

    def restart(self, worker: int) -> None:
        """Start the worker again; a `Ready`, `Died` or `Failed` event follows."""
