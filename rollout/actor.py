"""Rollout workers on Ray: a thin actor around the engine, and the pool that the dispatcher drives.

pool = RayWorkers(lambda worker: start_worker(model_dir, config), size=2, sync_timeout_s=300)
dispatcher = Dispatcher(pool, restart_limit=3, chunk_timeout_s=1800)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any  # of Ray's handles and references, which are not typed

import numpy as np
import ray

from rollout.config import EngineConfig
from rollout.errors import RolloutError, WeightSyncError
from rollout.publication import Publication, SyncReport
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

    def load_weights(self, publication: Publication) -> SyncReport:
        """Call `VllmEngine.load_weights`."""
        return self._started().load_weights(publication)

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

    Weights go from the learner's node to the workers and never through the driver: a publication holds a path in
    shared memory, or it is a reference to one whose bytes are in the object store.
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

    def load(self, workers: Sequence[int], publication: object) -> dict[int, SyncReport | Died]:
        """Load weights into these workers in parallel; `publication` may be a Ray object reference.

        Raises:
            WeightSyncError: a worker does not hold what was published.
        """
        calls = {worker: self._actors[worker].load_weights.remote(publication) for worker in workers}
        answers: dict[int, SyncReport | Died] = {}
        if calls:
            ray.wait(list(calls.values()), num_returns=len(calls), timeout=self._sync_timeout_s)
        for worker, call in calls.items():
            try:
                answers[worker] = ray.get(call, timeout=MINIMAL_WAIT_S)
            except ray.exceptions.GetTimeoutError:
                self.kill(worker)
                answers[worker] = Died(worker, f"had not loaded weights after {self._sync_timeout_s:g} s")
            except ray.exceptions.RayError as error:
                if isinstance(getattr(error, "cause", None), WeightSyncError):
                    raise error.cause from None  # type: ignore[attr-defined]
                self.kill(worker)
                answers[worker] = Died(worker, explain(error))
        return answers

    def kill(self, worker: int) -> None:
        """End the worker's process and drop its pending calls."""
        ray.kill(self._actors[worker], no_restart=True)
        self._starting = {ref: w for ref, w in self._starting.items() if w != worker}
        self._streams = {stream: (w, t) for stream, (w, t) in self._streams.items() if w != worker}

    def restart(self, worker: int) -> None:
        """Start the worker again; a `Ready`, `Died` or `Failed` event follows."""
        self._actors[worker] = self._start(worker)
        self._starting[self._actors[worker].start.remote()] = worker

    def close(self) -> None:
        """End all workers."""
        for worker in self._actors:
            self.kill(worker)
