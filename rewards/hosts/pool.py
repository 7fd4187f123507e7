"""The parent's side of reward hosts: start them, share rows out, hold deadlines, put fresh ones in dead ones'
place.

A row-wise reward loses one row to a hang, a crash or a raise: the rows before it keep their verdicts and the rows
after it go to a fresh host. A list-wise reward is one call for all its rows, so the call is what a fault costs.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from rewards.errors import RewardLoadError
from rewards.hosts.channel import HostGone, HostProtocolError, HostTimeout
from rewards.hosts.host_process import Host, HostSpec
from rewards.rows import RewardRow
from rewards.types import Score
from rewards.values import failed

__all__ = ["HostPool", "HostSpec", "check_reward"]

_MAX_ROWS_PER_CALL = 512
_MIN_ROWS_PER_CALL = 16
_CALLS_PER_WORKER = 16
"""Rows differ in cost a hundredfold: with few large calls one worker ends long before the other."""
_MAX_DEATHS_IN_A_ROW = 8


class HostPool:
    """Up to `workers` hosts of one reward. `start` loads them all; `score` may be called from any one thread."""

    def __init__(self, spec: HostSpec, workers: int) -> None:
        self._spec, self._workers = spec, workers
        self._idle: SimpleQueue[Host | None] = SimpleQueue()
        self._closed = threading.Event()
        self.calls = 0
        """Calls that came back …"""
        self.leaked = 0
        """… and those that left a process or a thread behind."""
        self.style = ""
        self.is_row_wise = False

    def start(self) -> None:
        """Start the hosts and load the reward in each. Raises RewardLoadError, with no process left."""
        first = Host(self._spec)
        self._idle.put(first)
        self.style, self.is_row_wise = first.style, first.is_row_wise
        if not self.is_row_wise:
            self._workers = (
                1  # one call sees all rows, and what the function keeps between calls stays in one place
            )
        with ThreadPoolExecutor(self._workers) as threads:
            more = [threads.submit(Host, self._spec) for _ in range(self._workers - 1)]
        errors = [future.exception() for future in more]
        for future, error in zip(more, errors, strict=True):
            if error is None:
                self._idle.put(future.result())
        for error in errors:
            if error is not None:
                self.close()
                raise error

    def score(self, rows: Sequence[RewardRow]) -> list[Score]:
        """One verdict per row, in order."""
        scores: list[Score | None] = [None] * len(rows)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="reward") as threads:
            for future in [
                threads.submit(self._score_part, rows, part, scores) for part in self._parts(rows)
            ]:
                future.result()
        return [score or failed("error", "no verdict came back") for score in scores]

    def close(self) -> None:
        """End all hosts."""
        self._closed.set()
        while not self._idle.empty():
            host = self._idle.get()
            if host is not None:
                host.leave()

    def _parts(self, rows: Sequence[RewardRow]) -> list[range]:
        """Index ranges, one call each; a list-wise reward never sees a group cut in two."""
        if self.is_row_wise:
            size = math.ceil(len(rows) / (_CALLS_PER_WORKER * self._workers))
            size = min(max(size, _MIN_ROWS_PER_CALL), _MAX_ROWS_PER_CALL)
            return [range(at, min(at + size, len(rows))) for at in range(0, len(rows), size)]
        parts: list[range] = []
        start = 0
        for at in range(1, len(rows) + 1):
            is_border = at == len(rows) or rows[at].group_index != rows[at - 1].group_index
            if is_border and (at == len(rows) or _border_after(rows, at) - start > _MAX_ROWS_PER_CALL):
                parts.append(range(start, at))
                start = at
        return parts

    def _score_part(self, rows: Sequence[RewardRow], part: range, scores: list[Score | None]) -> None:
        host = self._idle.get()
        todo = list(part)
        deaths = 0
        try:
            while todo:
                if self._spec.gives_up and deaths >= _MAX_DEATHS_IN_A_ROW:
                    reason = f"not tried: the {deaths} rows before it ended their process"
                    _fill(scores, todo, failed("error", reason))
                    break
                host = host or self._restart(scores, todo)
                if host is None:
                    break
                before = len(todo)
                host = self._call(host, rows, todo, scores)
                deaths = deaths + 1 if host is None and len(todo) == before - 1 else 0
        finally:
            self._idle.put(host)

    def _call(
        self, host: Host, rows: Sequence[RewardRow], todo: list[int], scores: list[Score | None]
    ) -> Host | None:
        """One call for the rows in `todo`, which shrinks by those with a verdict. None if the host had to be ended."""
        asked = list(todo)
        expected = iter(asked)

        def take(number: int, score: Score) -> None:
            if asked[number] != next(expected, None):
                raise HostProtocolError("results out of order")
            scores[asked[number]] = score
            todo.pop(0)

        try:
            reusable = host.call([rows[at] for at in asked], take)
        except HostTimeout:
            fault = failed("timeout", f"no verdict after {self._spec.timeout_s:g} s", self._spec.timeout_s)
        except HostGone:
            fault = failed("error", f"its process ended: {host.fate()}")
        except (HostProtocolError, LookupError, TypeError, ValueError) as error:
            fault = failed("error", f"the reward disturbed its result channel: {error}")
        else:
            if todo:
                _fill(scores, todo, failed("error", "no verdict came back"))
            self.calls += 1
            if not reusable:
                self.leaked += 1
                host.end()
            return host if reusable else None
        host.end()
        _fill(scores, todo, fault, at_most=1 if self.is_row_wise else len(todo))
        return None

    def _restart(self, scores: list[Score | None], todo: list[int]) -> Host | None:
        if self._closed.is_set():
            _fill(scores, todo, failed("error", "the scorer was closed"))
            return None
        try:
            return Host(self._spec)
        except RewardLoadError as error:
            _fill(scores, todo, failed("error", f"could not be loaded again: {error}"))
            return None


def check_reward(name: str, params: Mapping[str, Any] | None = None) -> None:
    """Load a reward in a process of its own and end it. Raises RewardLoadError."""
    Host(HostSpec(name, params or {}, timeout_s=1.0)).leave()


def _fill(scores: list[Score | None], todo: list[int], score: Score, at_most: int | None = None) -> None:
    """Give the first `at_most` rows in `todo` (all by default) this verdict and take them off the list."""
    for at in todo[:at_most]:
        scores[at] = score
    del todo[:at_most]


def _border_after(rows: Sequence[RewardRow], at: int) -> int:
    """First index behind `at` where another group begins."""
    end = at + 1
    while end < len(rows) and rows[end].group_index == rows[at].group_index:
        end += 1
    return end
