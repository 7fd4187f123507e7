"""Distributes chunks over rollout workers and records every attempt. It reaches workers through `WorkerPool` only.

    dispatcher = Dispatcher(pool, restart_limit=3, chunk_timeout_s=1800)
    dispatcher.load(publication)                       # every worker holds these weights, verified
    for chunk_id, group in dispatcher.run(chunks): …   # every group of every chunk exactly once
    dispatcher.ledger.rows()                           # every attempt at every chunk and its outcome

If a worker dies or hangs, only its current chunk is retried: as a whole, on a worker that holds the current weights. A
chunk's samples do not depend on the worker, so groups that had already arrived come out the same and are not delivered
twice.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rollout.errors import RolloutError, WorkersLost
from rollout.ledger import Ledger, LedgerRow
from rollout.publication import Publication, SyncReport
from rollout.types import RolloutChunk, SampleGroup
from rollout.worker_pool import Delivered, Died, Event, Failed, Ready, WorkerPool

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 600.0
"""A worker that is not ready after so many seconds, model loading included, counts as dead."""


@dataclass
class _Assignment:
    """A chunk on a worker."""

    chunk: RolloutChunk
    ticket: int
    row: LedgerRow
    deadline: float
    open_groups: list[tuple[str, tuple[int, ...]]]
    """(prompt id, seeds) of the groups that this attempt has not delivered."""


@dataclass
class _Job:
    """The remaining work of one `run`: chunks that no worker has, and per chunk id the groups not delivered yet."""

    pending: deque[RolloutChunk]
    missing: dict[str, set[tuple[str, tuple[int, ...]]]] = field(default_factory=dict)


class Dispatcher:
    """Owns the workers on the driver's side; lives as long as the run."""

    def __init__(
        self,
        pool: WorkerPool,
        restart_limit: int,
        chunk_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take over a pool whose workers are starting.

        Args:
            pool: the workers.
            restart_limit: restarts in the dispatcher's life, all workers together.
            chunk_timeout_s: a worker that has delivered nothing for so many seconds is killed.
            clock: time in seconds; tests pass their own.
        """
        self.ledger = Ledger()
        self._pool = pool
        self.restarts = 0
        """Number of restarts so far."""
        self._restarts_left = restart_limit
        self._chunk_timeout_s = chunk_timeout_s
        self._clock = clock
        self._publication: Publication | None = None
        self._starting = dict.fromkeys(range(pool.size), clock() + START_TIMEOUT_S)
        self._idle: set[int] = set()
        self._busy: dict[int, _Assignment] = {}
        self._causes: list[str] = []
        self._lost_asleep: dict[int, str] = {}
        """Workers that died as they fell asleep, and why."""
        self._tickets = 0

    def wait_started(self) -> None:
        """Wait until every starting worker is ready or has been given up.

        Raises:
            WorkersLost: no worker is left.
            RolloutError: the engine cannot load the model folder.
        """
        while self._starting:
            for event in self._next_events():
                self._handle_abandoned(event)

    def load(self, publication: Publication) -> list[SyncReport]:
        """Load this version on every worker, once those that are starting are ready.

        Raises:
            WeightSyncError: a worker does not hold what was published; the message names tensor or canary position.
            WorkersLost: no worker is left.
        """
        self._publication = None  # a worker that starts meanwhile does not want the weights before these
        for worker, cause in sorted(self._lost_asleep.items()):
            self._restart(Died(worker, cause))
        self._lost_asleep.clear()
        self._settle()
        self._publication = publication
        reports = self._sync(sorted(self._idle))
        self._require_workers()
        return reports

    def sleep(self) -> None:
        """Let every worker free its memory for a learner on the same devices, until the next `load`.

        A worker that dies on the way is restarted by `load`: started now, it would take the learner's memory.
        """
        self._settle()
        self._publication = None
        for worker, answer in self._pool.sleep(sorted(self._idle)).items():
            if isinstance(answer, Died):
                self._idle.remove(worker)
                self._causes.append(f"worker {worker}: {answer.cause}")
                self._lost_asleep[worker] = answer.cause

    def _settle(self) -> None:
        """Wait until no worker starts or is busy; it can be with chunks whose caller has stopped iterating."""
        while self._starting or self._busy:
            for event in self._next_events():
                self._handle_abandoned(event)

    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        """Yield the groups of `run` without their chunk ids."""
        for _, group in self.run(chunks):
            yield group

    def run(self, chunks: Sequence[RolloutChunk]) -> Iterator[tuple[str, SampleGroup]]:
        """Yield (chunk id, group) for every group of every chunk exactly once, in the order in which they finish.

        Raises:
            WorkersLost: no worker is left and none may be restarted.
            RolloutError: a chunk raised on its worker (StaleEngine, a prompt that does not fit), or the engine cannot
                load the model folder.
        """
        job = _Job(deque(chunks), {chunk.id: set(_keys(chunk)) for chunk in chunks})
        if len(job.missing) != len(chunks):
            raise ValueError("chunk ids are not unique")
        if any(len(job.missing[chunk.id]) != len(chunk.prompts) for chunk in chunks):
            raise ValueError("a chunk holds the same prompt with the same seeds twice")
        try:
            while any(job.missing.values()):
                self._assign(job)
                for event in self._next_events():
                    yield from self._handle(event, job)
        finally:
            for assignment in self._busy.values():
                if assignment.row.state == "running":
                    assignment.row.state = "abandoned"

    def _assign(self, job: _Job) -> None:
        while job.pending and self._idle:
            worker = min(self._idle)
            chunk = job.pending.popleft()
            self._tickets += 1
            self._idle.remove(worker)
            row = self.ledger.open(chunk.id, worker)
            deadline = self._clock() + self._chunk_timeout_s
            self._busy[worker] = _Assignment(chunk, self._tickets, row, deadline, _keys(chunk))
            self._pool.submit(worker, self._tickets, chunk)

    def _next_events(self) -> Sequence[Event]:
        """Wait for events; a worker without any until its deadline is killed and reported as `Died`."""
        self._require_workers()
        deadlines = [a.deadline for a in self._busy.values()] + list(self._starting.values())
        wait_s = min(deadlines) - self._clock() if deadlines else self._chunk_timeout_s
        events = self._pool.wait(max(0.0, wait_s))
        for event in events:
            if isinstance(event, Failed) and event.worker in self._starting:
                raise event.error  # a folder that does not load now will not load in a retry
        if events:
            return events
        now = self._clock()
        overdue = [w for w, a in self._busy.items() if a.deadline <= now]
        slow = [w for w, deadline in self._starting.items() if deadline <= now]
        silent = [Died(w, f"delivered nothing for {self._chunk_timeout_s:g} s") for w in overdue]
        silent += [Died(w, f"did not start within {START_TIMEOUT_S:g} s") for w in slow]
        for death in silent:
            self._pool.kill(death.worker)
        return silent

    def _handle(self, event: Event, job: _Job) -> Iterator[tuple[str, SampleGroup]]:
        if isinstance(event, Ready | Died):
            lost = self._handle_life(event)
            if lost is not None and lost.row.state == "lost":
                job.pending.appendleft(lost.chunk)
            return
        assignment = self._busy.get(event.worker)
        if assignment is None or assignment.ticket != event.ticket:
            return  # an event of an attempt that was given up
        if assignment.row.state != "running":
            self._handle_abandoned(event)
            return
        assignment.deadline = self._clock() + self._chunk_timeout_s
        missing = job.missing[assignment.chunk.id]
        if isinstance(event, Delivered):
            key = _key(event.group)
            if key not in assignment.open_groups:
                raise RolloutError(
                    f"chunk {assignment.chunk.id}: worker {event.worker} sent a group not asked for"
                )
            assignment.open_groups.remove(key)
            if key in missing:
                missing.remove(key)
                assignment.row.groups += 1
                if not missing:
                    # What still arrives is not needed: the end of the stream and, in a second attempt, groups that
                    # the first had delivered.
                    assignment.row.state = "done"
                yield assignment.chunk.id, event.group
            else:
                assignment.row.repeated += 1
        elif isinstance(event, Failed):
            self._release(event.worker)
            assignment.row.state, assignment.row.cause = "lost", str(event.error)
            raise event.error
        else:
            cause = f"ended chunk {assignment.chunk.id} with {len(missing)} groups missing"
            self._pool.kill(event.worker)
            yield from self._handle(Died(event.worker, cause), job)

    def _handle_abandoned(self, event: Event) -> None:
        """Handle an event of a chunk that is complete, or whose caller has stopped iterating."""
        if isinstance(event, Ready | Died):
            self._handle_life(event)
        elif event.worker in self._busy and self._busy[event.worker].ticket == event.ticket:
            if isinstance(event, Delivered):
                self._busy[event.worker].deadline = self._clock() + self._chunk_timeout_s
            else:
                self._release(event.worker)

    def _handle_life(self, event: Ready | Died) -> _Assignment | None:
        """Handle the start or death of a worker; returns the assignment that it had."""
        if isinstance(event, Died):
            return self._remove(event)
        if self._starting.pop(event.worker, None) is not None:
            self._idle.add(event.worker)
            if self._publication is not None:
                self._sync([event.worker])
        return None

    def _release(self, worker: int) -> None:
        del self._busy[worker]
        self._idle.add(worker)

    def _sync(self, workers: Sequence[int]) -> list[SyncReport]:
        assert self._publication is not None
        reports = []
        for answer in self._pool.load(workers, self._publication).values():
            if isinstance(answer, Died):
                self._remove(answer)
            else:
                reports.append(answer)
        return reports

    def _remove(self, death: Died) -> _Assignment | None:
        """Remove a dead worker and restart it if a restart is left; returns the assignment that it had."""
        worker = death.worker
        assignment = self._busy.pop(worker, None)
        known = assignment is not None or worker in self._idle or worker in self._starting
        if not known:
            return None
        self._idle.discard(worker)
        self._starting.pop(worker, None)
        self._causes.append(f"worker {worker}: {death.cause}")
        if assignment is not None and assignment.row.state == "running":
            assignment.row.state, assignment.row.cause = "lost", death.cause
        self._restart(death)
        return assignment

    def _restart(self, death: Died) -> None:
        """Start a dead worker anew if a restart is left; one that never ran costs none."""
        worker = death.worker
        if death.ran and not self._restarts_left:
            logger.warning("rollout worker %d: %s; no restart is left", worker, death.cause)
            return
        if death.ran:
            self._restarts_left -= 1
            self.restarts += 1
        logger.warning(
            "rollout worker %d: %s; restarting it (%d restarts left)",
            worker,
            death.cause,
            self._restarts_left,
        )
        self._pool.restart(worker)
        self._starting[worker] = self._clock() + START_TIMEOUT_S

    def _require_workers(self) -> None:
        if not (self._idle or self._busy or self._starting):
            raise WorkersLost("no rollout worker is left: " + "; ".join(self._causes))


def _keys(chunk: RolloutChunk) -> list[tuple[str, tuple[int, ...]]]:
    return [(prompt.id, tuple(seeds)) for prompt, seeds in zip(chunk.prompts, chunk.seeds, strict=True)]


def _key(group: SampleGroup) -> tuple[str, tuple[int, ...]]:
    return group.prompt.id, tuple(sample.seed for sample in group.samples)
