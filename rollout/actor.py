"""Rollout workers on Ray: a thin actor around the engine, and the pool that the dispatcher drives.

pool = RayWorkers(lambda worker: start_worker(model_dir, config), size=2, sync_timeout_s=300)
dispatcher = Dispatcher(pool, restart_limit=3, chunk_timeout_s=1800)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any  # of Ray's handles and references, which are not typed

import numpy as np
import ray

from rollout.config import EngineConfig
from rollout.errors import RolloutError
from rollout.publication import Head, Publication, SyncReport, Tail, Window
from rollout.ray_errors import explain
from rollout.types import RolloutChunk, SampleGroup
from rollout.worker_pool import Delivered, Died, Event, Failed, Finished, Ready

if TYPE_CHECKING:
    from rollout.vllm_engine import VllmEngine

MINIMAL_WAIT_S = 0.05
"""With a shorter timeout `ray.wait` may miss results that have arrived."""

SEND_EVERY_S = 0.1
"""Seconds between two messages of a worker: each costs driver and worker some milliseconds of computing time."""


class RolloutWorker:
    """The actor that holds one engine; `start_worker` applies `ray.remote`. Calls run one after the other."""

    def __init__(self, model_dir: str, config: EngineConfig, version: int | None = None) -> None:
        """Keep the arguments of `VllmEngine` for `start`."""
        self._arguments = (model_dir, config, version)
        self._engine: VllmEngine | None = None

    def start(self) -> dict[str, int]:
        """Start the engine, once, and return the process id and the engine's `max_model_len`.

        This is not done in the constructor, because Ray wraps a constructor's errors in its own.

        Raises:
            RolloutError: the engine cannot load the folder.
        """
        if self._engine is None:
            from rollout.vllm_engine import VllmEngine

            self._engine = VllmEngine(*self._arguments)
        return {"pid": os.getpid(), "max_model_len": self._engine.max_model_len}

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
    gpus: float = 0.0,
    **options: Any,
) -> Any:
    """Create the actor and return its handle at once.

    Args:
        model_dir: path on the worker's node.
        config: engine settings with dtype and, on a CPU, threads resolved.
        version: policy version of the folder's weights, if they may be sampled from.
        gpus: GPUs or a share of one to ask Ray for.
        options: further Ray actor options, such as a scheduling strategy.
    """
    # Set here because Ray would set one thread per logical CPU that the actor asks for.
    threads = {} if config.threads is None else {"OMP_NUM_THREADS": str(config.threads)}
    settings = {"num_cpus": 0, "num_gpus": gpus, "max_restarts": 0, "runtime_env": {"env_vars": threads}}
    return ray.remote(RolloutWorker).options(**(settings | options)).remote(str(model_dir), config, version)


class RayWorkers:
    """A `WorkerPool` of Ray actors.

    Weights go from the learner to the workers and never through the driver, which passes on where they lie.
    """

    def __init__(self, start: Callable[[int], Any], size: int, sync_timeout_s: float) -> None:
        """Start all workers and return without waiting for them.

        Args:
            start: creates the actor of worker i; called again to restart it.
            size: number of workers.
            sync_timeout_s: a worker that has not loaded weights by then counts as dead.
        """
        self.size = size
        self._start = start
        self._sync_timeout_s = sync_timeout_s
        self._actors: dict[int, Any] = {}
        self._starts: dict[int, int] = {}
        self._starting: dict[Any, int] = {}
        self._streams: dict[Any, tuple[int, int]] = {}
        self.info: dict[int, dict[str, int]] = {}
        """What each worker reported at its last start: pid and max_model_len."""
        for worker in range(size):
            self.restart(worker)

    def submit(self, worker: int, ticket: int, chunk: RolloutChunk) -> None:
        """Start a chunk on a ready worker."""
        stream = self._actors[worker].generate.options(num_returns="streaming").remote(chunk)
        self._streams[stream] = (worker, ticket)

    def wait(self, timeout_s: float) -> list[Event]:
        """Return new events, in order per worker; none if nothing happened within `timeout_s` seconds."""
        watched = [*self._starting, *self._streams]
        done, _ = ray.wait(watched, num_returns=1, timeout=max(timeout_s, MINIMAL_WAIT_S))
        if done and len(watched) > 1:
            done, _ = ray.wait(watched, num_returns=len(watched), timeout=MINIMAL_WAIT_S / 10)
        events: list[Event] = []
        for ref in done:
            events += [self._started(ref)] if ref in self._starting else self._streamed(ref)
        return events

    def _started(self, ref: Any) -> Event:
        worker = self._starting.pop(ref)
        try:
            self.info[worker] = ray.get(ref)
        except ray.exceptions.RayError as error:
            return self._failure(worker, 0, error)
        return Ready(worker)

    def _streamed(self, stream: Any) -> list[Event]:
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
        return Died(worker, explain(error))

    def load(self, workers: Sequence[int], publication: Publication) -> dict[int, SyncReport | Died]:
        """Stream weights into these workers in parallel; one that dies or is late holds up no other.

        Raises:
            WeightSyncError: a worker does not hold what was published.
        """
        if not workers:
            return {}
        loads = _Loads({worker: self._actors[worker] for worker in workers}, self._sync_timeout_s)
        # A worker that was restarted is another reader.
        readers = {worker: f"{worker}/{self._starts[worker]}" for worker in workers}
        head = publication.begin(list(readers.values()))
        loads.send("begin_load", {worker: (head, reader) for worker, reader in readers.items()})
        for window in publication.windows(loads.wait):
            loads.send("load_window", dict.fromkeys(readers, (window,)))
        loads.send("finish_load", dict.fromkeys(readers, (publication.finish(),)))
        reports = loads.finish()
        for answer in reports.values():
            if isinstance(answer, Died):
                self.kill(answer.worker)
        return reports

    def kill(self, worker: int) -> None:
        """End the worker's process and drop its pending calls."""
        ray.kill(self._actors[worker], no_restart=True)
        self._starting = {ref: w for ref, w in self._starting.items() if w != worker}
        self._streams = {stream: (w, t) for stream, (w, t) in self._streams.items() if w != worker}

    def restart(self, worker: int) -> None:
        """Start the worker again; a `Ready`, `Died` or `Failed` event follows."""
        self._actors[worker] = self._start(worker)
        self._starts[worker] = self._starts.get(worker, 0) + 1
        self._starting[self._actors[worker].start.remote()] = worker

    def close(self) -> None:
        """End all workers."""
        for worker in self._actors:
            self.kill(worker)


class _Loads:
    """The calls of one stream at several workers; each worker serves its own in order."""

    def __init__(self, actors: Mapping[int, Any], timeout_s: float) -> None:
        self._actors = actors
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._open: dict[int, list[Any]] = {worker: [] for worker in actors}
        """References of the calls that are not known to be done; the first is `_done` calls after the start."""
        self._done = dict.fromkeys(actors, 0)
        self._answers: dict[int, SyncReport | Died] = {}

    def send(self, method: str, arguments: Mapping[int, tuple[object, ...]]) -> None:
        """Call a method of every worker that is alive, without waiting."""
        for worker, values in arguments.items():
            if worker not in self._answers:
                self._open[worker].append(getattr(self._actors[worker], method).remote(*values))

    def wait(self, index: int) -> None:
        """Wait until every worker that is alive has loaded the window of this index.

        Raises:
            WeightSyncError: a worker cannot load.
        """
        for worker in self._actors:
            self._wait(worker, index + 2)  # begin_load and the windows before

    def finish(self) -> dict[int, SyncReport | Died]:
        """Wait for all calls; returns the workers' reports.

        Raises:
            WeightSyncError: a worker cannot load, or does not hold what was published.
        """
        for worker in self._actors:
            report = self._wait(worker, self._done[worker] + len(self._open[worker]))
            if worker not in self._answers:
                self._answers[worker] = report
        return self._answers

    def _wait(self, worker: int, calls: int) -> Any:
        """Wait until so many calls of a worker are done; returns the last one's answer."""
        answer = None
        while worker not in self._answers and self._done[worker] < calls:
            try:
                left = max(self._deadline - time.monotonic(), MINIMAL_WAIT_S)
                answer = ray.get(self._open[worker][0], timeout=left)
            except ray.exceptions.GetTimeoutError:
                self._answers[worker] = Died(worker, f"had not loaded weights after {self._timeout_s:g} s")
            except ray.exceptions.RayError as error:
                if isinstance(getattr(error, "cause", None), RolloutError):
                    raise error.cause from None  # type: ignore[attr-defined]
                self._answers[worker] = Died(worker, explain(error))
            else:
                self._open[worker].pop(0)
                self._done[worker] += 1
        return answer
