"""Rollout workers on Ray: a thin actor around the engine, and the pool that the dispatcher drives.

pool = RayWorkers(lambda worker: start_worker(model_dir, config), size=2, sync_timeout_s=300)
dispatcher = Dispatcher(pool, restart_limit=3, chunk_timeout_s=1800)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import ray

from policies.json_types import JsonMapping
from rollout.config import EngineConfig
from rollout.errors import RolloutError
from rollout.gang import EngineActor, EngineGang, open_rendezvous
from rollout.gang_calls import MINIMAL_WAIT_S, GangCalls
from rollout.parts import EnginePart
from rollout.publication import Head, Publication, SyncReport, Tail, Window, needs_canary
from rollout.ray_errors import explain, never_ran
from rollout.rendezvous import Rendezvous
from rollout.types import RolloutChunk, SampleGroup
from rollout.worker_pool import Delivered, Died, Event, Failed, Finished, Ready

if TYPE_CHECKING:
    from rollout.vllm_engine import VllmEngine

AnswerT = TypeVar("AnswerT")
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Of an engine on a CPU: glibc asks for pages of 2 MiB. A weight sync allocates every packed weight anew, and faulting
that in by pages of 4 KiB takes longer than copying it."""
SEND_EVERY_S = 0.1
"""Seconds between two messages of a worker: each costs driver and worker some milliseconds of computing time."""


class RolloutWorker:
    """The actor that holds one engine, or one GPU of it. `start_worker` applies `ray.remote`; calls run one by one."""

    def __init__(self, model_dir: str, config: EngineConfig, version: int | None, part: EnginePart) -> None:
        """Keep the arguments of `VllmEngine` for `start`."""
        self._arguments = (model_dir, config, version, part)
        self._engine: VllmEngine | None = None
        self._rendezvous: Rendezvous | None = None

    def rendezvous_address(self) -> str:
        """Return the address where all parts of the engine meet; this part listens there from now on."""
        self._rendezvous = open_rendezvous()
        return self._rendezvous.address

    def start(self, rendezvous: str | None = None) -> dict[str, int]:
        """Start the engine, once, and return its rank, process id and `max_model_len`.

        This is not done in the constructor, because Ray wraps a constructor's errors in its own. An engine that takes
        turns with a learner sleeps at once: the learner loads next.

        Args:
            rendezvous: rank 0's `rendezvous_address`; None for an engine of one process.

        Raises:
            RolloutError: the engine cannot load the folder.
        """
        if self._engine is None:
            from rollout.vllm_engine import VllmEngine

            self._engine = VllmEngine(*self._arguments, rendezvous)
            if self._arguments[-1].takes_turns:
                self._engine.sleep()
        rank = self._arguments[-1].rank
        return {"rank": rank, "pid": os.getpid(), "max_model_len": self._engine.max_model_len}

    def generate(self, chunk: RolloutChunk) -> Iterator[list[SampleGroup]]:
        """Yield groups as `VllmEngine.generate` does, at most one list every `SEND_EVERY_S` seconds."""
        ended: list[SampleGroup] = []
        sent = time.monotonic()
        for groups in self._started().generate(chunk):
            ended += groups
            if ended and time.monotonic() - sent > SEND_EVERY_S:
                yield ended
                ended, sent = [], time.monotonic()
        if ended:
            yield ended

    def follow(self, chunk: RolloutChunk) -> None:
        """Generate as rank 0 does, step by step with it, and keep nothing."""
        for _ in self._started().generate(chunk):
            pass

    def sleep(self) -> None:
        """Call `VllmEngine.sleep`."""
        self._started().sleep()

    def begin_load(self, head: Head, reader: str) -> None:
        """Call `VllmEngine.begin_load`."""
        self._started().begin_load(head, reader)

    def load_window(self, window: Window) -> None:
        """Call `VllmEngine.load_window`."""
        self._started().load_window(window)

    def finish_load(self, tail: Tail) -> SyncReport:
        """Call `VllmEngine.finish_load`."""
        return self._started().finish_load(tail)

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Call `VllmEngine.prompt_logprobs`."""
        return self._started().prompt_logprobs(prompts)

    def _started(self) -> VllmEngine:
        assert self._engine is not None, "start() comes first"
        return self._engine


def start_worker(
    model_dir: str | Path,
    config: EngineConfig,
    version: int | None = None,
    seats: Sequence[JsonMapping] = (),
    takes_turns: bool = False,
) -> EngineGang:
    """Create the actors of one engine and return at once.

    Args:
        model_dir: path on the workers' nodes.
        config: engine settings with dtype and, on a CPU, threads resolved.
        version: policy version of the folder's weights, if they may be sampled from.
        seats: Ray's options for each of the config.tensor_parallel actors (GPUs, scheduling strategy); none on a CPU.
        takes_turns: a learner computes on the same devices while the engine sleeps.
    """
    # Set here because Ray would set one thread per logical CPU that the actor asks for.
    threads = {} if config.threads is None else {"OMP_NUM_THREADS": str(config.threads), **HUGE_PAGES}
    fixed = {"num_cpus": 0, "max_restarts": 0, "runtime_env": {"env_vars": threads}}
    size = config.tensor_parallel
    parts = [EnginePart(rank, size, takes_turns) for rank in range(size)]
    return EngineGang(
        [
            # Ray's own class gives no attribute of an actor a type.
            cast(
                EngineActor,
                ray.remote(RolloutWorker)
                .options(**(fixed | dict(seat)))
                .remote(str(model_dir), config, version, part),
            )
            for part, seat in zip(parts, seats or ({},) * size, strict=True)
        ]
    )


class RayWorkers:
    """A `WorkerPool` of Ray actors.

    Weights go from the learner to the workers and never through the driver, which passes on where they lie.
    """

    def __init__(self, start: Callable[[int], EngineGang], size: int, sync_timeout_s: float) -> None:
        """Start all workers and return without waiting for them.

        Args:
            start: creates the actors of worker i; called again to restart it.
            size: number of workers.
            sync_timeout_s: a worker that has not loaded weights, or fallen asleep, by then counts as dead.
        """
        self.size = size
        self._start = start
        self._sync_timeout_s = sync_timeout_s
        self._gangs: dict[int, EngineGang] = {}
        self._starts: dict[int, int] = {}
        self._loads: dict[int, int] = {}
        self._uncovered: dict[int, set[str]] = {}
        self._starting: dict[ray.ObjectRef[dict[str, int]], int] = {}
        self._streams: dict[ray.ObjectRefGenerator, tuple[int, int]] = {}
        self._followers: dict[ray.ObjectRef[None], tuple[int, int]] = {}
        self.info: dict[int, dict[str, int]] = {}
        """What rank 0 of each worker reported at its last start: rank, pid and max_model_len."""
        for worker in range(size):
            self.restart(worker)

    def submit(self, worker: int, ticket: int, chunk: RolloutChunk) -> None:
        """Start a chunk on a ready worker."""
        stream, followers = self._gangs[worker].generate(chunk)
        self._streams[stream] = (worker, ticket)
        self._followers.update(dict.fromkeys(followers, (worker, ticket)))

    def wait(self, timeout_s: float) -> list[Event]:
        """Return new events, in order per worker; none if nothing happened within `timeout_s` seconds."""
        watched = [*self._starting, *self._streams, *self._followers]
        done, _ = ray.wait(watched, num_returns=1, timeout=max(timeout_s, MINIMAL_WAIT_S))
        if done and len(watched) > 1:
            done, _ = ray.wait(watched, num_returns=len(watched), timeout=MINIMAL_WAIT_S / 10)
        events: list[Event] = []
        for ref in done:
            if ref in self._starting:
                events += self._started(ref)
            elif ref in self._followers:
                events += self._followed(ref)
            elif ref in self._streams:  # not of a worker that has been killed since
                events += self._streamed(ref)
        return events

    def _started(self, ref: ray.ObjectRef[dict[str, int]]) -> list[Event]:
        worker = self._starting.pop(ref)
        try:
            info = ray.get(ref)
        except ray.exceptions.RayError as error:
            return [self._failure(worker, 0, error)]
        if info["rank"] == 0:
            self.info[worker] = info
        return [] if worker in self._starting.values() else [Ready(worker)]

    def _followed(self, ref: ray.ObjectRef[None]) -> list[Event]:
        worker, ticket = self._followers.pop(ref)
        try:
            ray.get(ref)
        except ray.exceptions.RayError as error:
            return [self._failure(worker, ticket, error)]
        return []

    def _streamed(self, stream: ray.ObjectRefGenerator) -> list[Event]:
        worker, ticket = self._streams[stream]
        try:
            return [Delivered(worker, ticket, group) for group in ray.get(next(stream))]
        except StopIteration:
            del self._streams[stream]
            return [Finished(worker, ticket)]
        except ray.exceptions.RayError as error:
            del self._streams[stream]
            return [self._failure(worker, ticket, error)]

    def _failure(self, worker: int, ticket: int, error: ray.exceptions.RayError) -> Event:
        """Return the event of a failed call: `Failed` for the package's own errors, `Died` for all others.

        After an unknown error the engine may be in any state, so the worker is killed.
        """
        cause = getattr(error, "cause", None)
        if isinstance(cause, RolloutError | ValueError):
            return Failed(worker, ticket, cause)
        self.kill(worker)
        return Died(worker, explain(error), ran=not never_ran(error))

    def load(self, workers: Sequence[int], publication: Publication) -> dict[int, SyncReport | Died]:
        """Stream weights into these workers in parallel; one that dies or is late holds up no other.

        Raises:
            WeightSyncError: a worker does not hold what was published.
        """
        if not workers:
            return {}
        gangs = {worker: self._gangs[worker] for worker in workers}
        calls = GangCalls(gangs, self._sync_timeout_s, "loaded weights")
        # A worker that was restarted is another reader, and so is each of its processes.
        readers = {
            worker: [f"{worker}/{self._starts[worker]}/{rank}" for rank in range(len(gang.actors))]
            for worker, gang in gangs.items()
        }
        head = publication.begin(
            [reader for own in readers.values() for reader in own],
            with_canary=any(needs_canary(self._loads[w], self._uncovered[w]) for w in workers),
        )
        calls.send(
            "begin_load", {worker: [(head, reader) for reader in own] for worker, own in readers.items()}
        )
        for window in publication.windows(
            lambda index: calls.wait(index + 2)
        ):  # begin_load and the windows before
            calls.send("load_window", {worker: [(window,)] * len(own) for worker, own in readers.items()})
        tail = publication.finish()
        calls.send("finish_load", {worker: [(tail,)] * len(own) for worker, own in readers.items()})
        answers: dict[int, SyncReport | Died] = self._bury(calls.finish())
        for worker, answer in answers.items():
            if isinstance(answer, SyncReport):
                self._loads[worker] += 1
                self._uncovered[worker] |= set(answer.uncovered)
        return answers

    def sleep(self, workers: Sequence[int]) -> dict[int, Died | None]:
        """Let these workers free what a learner on the same devices needs."""
        gangs = {worker: self._gangs[worker] for worker in workers}
        calls = GangCalls(gangs, self._sync_timeout_s, "fallen asleep")
        calls.send("sleep", {worker: [()] * len(gang.actors) for worker, gang in gangs.items()})
        return self._bury(calls.finish())

    def _bury(self, answers: dict[int, AnswerT]) -> dict[int, AnswerT]:
        """Kill the workers that died among these answers."""
        for answer in answers.values():
            if isinstance(answer, Died):
                self.kill(answer.worker)
        return answers

    def kill(self, worker: int) -> None:
        """End the worker's processes and drop its pending calls."""
        self._gangs[worker].kill()
        self._starting = {ref: w for ref, w in self._starting.items() if w != worker}
        self._streams = {stream: (w, t) for stream, (w, t) in self._streams.items() if w != worker}
        self._followers = {ref: (w, t) for ref, (w, t) in self._followers.items() if w != worker}

    def restart(self, worker: int) -> None:
        """Start the worker again; a `Ready`, `Died` or `Failed` event follows."""
        self._gangs[worker] = self._start(worker)
        self._loads[worker], self._uncovered[worker] = 0, set()
        self._starts[worker] = self._starts.get(worker, 0) + 1
        self._starting.update(dict.fromkeys(self._gangs[worker].start(), worker))

    def parts(self, worker: int) -> list[EngineActor]:
        """Return the actors of a worker, rank 0 first."""
        return self._gangs[worker].actors

    def close(self) -> None:
        """End all workers."""
        for worker in self._gangs:
            self.kill(worker)
