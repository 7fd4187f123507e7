"""Rollout workers on Ray: a thin actor around the engine, and the pool that the dispatcher drives.

pool = RayWorkers(lambda worker: start_worker(model_dir, config), size=2, sync_timeout_s=300)
dispatcher = Dispatcher(pool, restart_limit=3, chunk_timeout_s=1800)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray

from rollout.config import EngineConfig
from rollout.errors import RolloutError, WeightSyncError
from rollout.publication import Publication, SyncReport
from rollout.types import RolloutChunk, SampleGroup
from rollout.worker_pool import Delivered, Died, Event, Failed, Finished, Ready

MINIMAL_WAIT_S = 0.05
"""`ray.wait` with less may overlook what has arrived."""

SEND_EVERY_S = 0.1
"""A message costs both sides some milliseconds, which the engine would rather use; a reward can wait that long."""


class RolloutWorker:
    """One engine; `ray.remote` is applied by `start_worker`. Calls run one after the other."""

    def __init__(self, model_dir: str, config: EngineConfig, version: int | None = None) -> None:
        """Remember what to start; see `VllmEngine` for the arguments."""
        self._arguments = (model_dir, config, version)
        self._engine: Any = None

    def start(self) -> dict[str, int]:
        """Start the engine, once. Apart from the constructor, so that its errors arrive as they are.

        Raises:
            RolloutError: the engine cannot load the folder.
        """
        if self._engine is None:
            from rollout.vllm_engine import VllmEngine

            self._engine = VllmEngine(*self._arguments)
        return {"pid": os.getpid(), "max_model_len": self._engine.max_model_len}

    def generate(self, chunk: RolloutChunk) -> Iterator[list[SampleGroup]]:
        """A stream of groups, see `VllmEngine.generate`; those that end close together travel together."""
        ended: list[SampleGroup] = []
        sent = time.monotonic()
        for groups in self._engine.generate(chunk):
            ended += groups
            if ended and time.monotonic() - sent > SEND_EVERY_S:
                yield ended
                ended, sent = [], time.monotonic()
        if ended:
            yield ended

    def load_weights(self, publication: Publication) -> SyncReport:
        """See `VllmEngine.load_weights`."""
        return self._engine.load_weights(publication)

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """See `VllmEngine.prompt_logprobs`."""
        return self._engine.prompt_logprobs(prompts)


def start_worker(
    model_dir: str | Path,
    config: EngineConfig,
    version: int | None = None,
    gpus: float = 0.0,
    **options: Any,
) -> Any:
    """Create the actor and return its handle at once.

    Args:
        model_dir: as the worker's node sees it.
        config: with dtype and, on a CPU, threads resolved.
        version: policy version of the folder's weights, if they may be sampled from.
        gpus: GPUs or a share of one to ask Ray for.
        options: further Ray actor options, such as a scheduling strategy.
    """
    # Threads are set here and not by Ray, which would set one per logical CPU asked for.
    threads = {} if config.threads is None else {"OMP_NUM_THREADS": str(config.threads)}
    settings = {"num_cpus": 0, "num_gpus": gpus, "max_restarts": 0, "runtime_env": {"env_vars": threads}}
    return ray.remote(RolloutWorker).options(**(settings | options)).remote(str(model_dir), config, version)


class RayWorkers:
    """`WorkerPool` of Ray actors. Weights go from the learner's node to the workers, never through the
    driver: a publication is a path in shared memory, or a reference to one with inline bytes in the object
        store."""

    def __init__(self, start: Callable[[int], Any], size: int, sync_timeout_s: float) -> None:
        """Start all workers, without waiting.

        Args:
            start: makes worker i's actor; called again to restart it.
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
        """What each worker told at its last start: pid, max_model_len."""
        for worker in range(size):
            self.restart(worker)

    def submit(self, worker: int, ticket: int, chunk: RolloutChunk) -> None:
        """Start a chunk on a ready worker."""
        stream = self._actors[worker].generate.options(num_returns="streaming").remote(chunk)
        self._streams[stream] = (worker, ticket)

    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened, in order per worker; empty after `timeout_s` without news."""
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
            return self._fault(worker, 0, error)
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
            return [self._fault(worker, ticket, error)]

    def _fault(self, worker: int, ticket: int, error: ray.exceptions.RayError) -> Event:
        """Ours come back as they are; anything else may have left the engine in pieces, so the worker
        goes."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, RolloutError | ValueError):
            return Failed(worker, ticket, cause)
        self.kill(worker)
        return Died(worker, _summary(error))

    def load(self, workers: Sequence[int], publication: Any) -> dict[int, SyncReport | Died]:
        """Load weights into these workers, side by side; `publication` may be an object reference.

        Raises:
            WeightSyncError: a worker does not hold what was published.
        """
        calls = {worker: self._actors[worker].load_weights.remote(publication) for worker in workers}
        answers: dict[int, SyncReport | Died] = {}
        ray.wait(
            list(calls.values()), num_returns=len(calls), timeout=self._sync_timeout_s
        ) if calls else None
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
                answers[worker] = Died(worker, _summary(error))
        return answers

    def kill(self, worker: int) -> None:
        """End the worker's process and forget what it still owed."""
        ray.kill(self._actors[worker], no_restart=True)
        self._starting = {ref: w for ref, w in self._starting.items() if w != worker}
        self._streams = {stream: (w, t) for stream, (w, t) in self._streams.items() if w != worker}

    def restart(self, worker: int) -> None:
        """Start it anew; `Ready`, `Died` or `Failed` follows."""
        self._actors[worker] = self._start(worker)
        self._starting[self._actors[worker].start.remote()] = worker

    def close(self) -> None:
        """End all workers."""
        for worker in self._actors:
            self.kill(worker)


def _summary(error: BaseException) -> str:
    """One line of Ray's report: an exception's own for a raise, the first for a death."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    line = lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0]
    return f"{type(error).__name__}: {line.split('. ')[0]}"
