"""Calls of several engines at once, each engine's in order: a stream of weights, or falling asleep.

calls = GangCalls({0: gang, 1: other}, timeout_s=300, what="loaded weights")
calls.send("begin_load", {0: [(head, "0/1/0")], …})     arguments for each process of an engine; nothing waits
calls.finish()                                          {0: the last answer, 1: Died(…)}
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any  # Any: the answer of a method that is called by its name

import ray

from rollout.errors import RolloutError
from rollout.gang import EngineGang
from rollout.ray_errors import explain
from rollout.worker_pool import Died

MINIMAL_WAIT_S = 0.05
"""With a shorter timeout `ray.wait` may miss results that have arrived."""


class GangCalls:
    """One that dies or is late holds up no other."""

    def __init__(self, gangs: Mapping[int, EngineGang], timeout_s: float, what: str) -> None:
        """Take the engines by worker.

        Args:
            gangs: the engines.
            timeout_s: for all calls of a worker together.
            what: what a worker that is late had not done.
        """
        self._gangs = gangs
        self._timeout_s, self._what = timeout_s, what
        self._deadline = time.monotonic() + timeout_s
        self._open: dict[int, list[list[ray.ObjectRef[object]]]] = {worker: [] for worker in gangs}
        """References of the calls that are not known to be done, those of all processes for each call."""
        self._done = dict.fromkeys(gangs, 0)
        self._answers: dict[int, object] = {}

    def send(self, method: str, arguments: Mapping[int, Sequence[tuple[object, ...]]]) -> None:
        """Call a method of every engine that is alive, without waiting.

        Args:
            method: its name.
            arguments: by worker, for each of its processes, rank 0 first.
        """
        for worker, each in arguments.items():
            if worker not in self._answers:
                actors = self._gangs[worker].actors
                calls = [
                    getattr(actor, method).remote(*values) for actor, values in zip(actors, each, strict=True)
                ]
                self._open[worker].append(calls)

    def wait(self, calls: int) -> None:
        """Wait until every engine that is alive is done with so many calls.

        Raises:
            RolloutError: raised by a process, e.g. WeightSyncError: it cannot load.
        """
        for worker in self._gangs:
            self._wait(worker, calls)

    def finish(self) -> dict[int, Any]:
        """Wait for all calls; returns a process's last answer by worker, of the method's own type, or its `Died`.

        Raises:
            RolloutError: see `wait`.
        """
        for worker in self._gangs:
            answer = self._wait(worker, self._done[worker] + len(self._open[worker]))
            self._answers.setdefault(worker, answer)
        return self._answers

    def _wait(self, worker: int, calls: int) -> object:
        """Wait until so many calls of a worker are done; returns an answer to the last; all processes give the same.

        The first error of its processes decides: the others may wait for the one that failed.
        """
        answer = None
        while worker not in self._answers and self._done[worker] < calls:
            left = max(self._deadline - time.monotonic(), MINIMAL_WAIT_S)
            references = self._open[worker][0]
            done, late = ray.wait(references, num_returns=1, timeout=left)
            if not done:
                self._answers[worker] = Died(worker, f"had not {self._what} after {self._timeout_s:g} s")
                break
            try:
                found = ray.get(done[0])
            except ray.exceptions.RayError as error:
                if isinstance(getattr(error, "cause", None), RolloutError):
                    raise error.cause from None  # type: ignore[attr-defined]
                self._answers[worker] = Died(worker, explain(error))
                break
            self._open[worker][0] = late
            if not late:
                self._open[worker].pop(0)
                self._done[worker] += 1
                answer = found
        return answer
