"""The parent's side of reward hosts: starts them, divides rows among them, holds deadlines, replaces dead hosts.

    submit(rows) ──parts──▶ one queue, first in first out ──▶ thread 1 ─ host 1
    submit(rows) ──parts──▶                                ──▶ thread 2 ─ host 2        any thread may submit

A row-wise reward loses one row to a hang, a crash or a raise: the rows before it keep their verdicts and the rows
after it go to a fresh host. A list-wise reward is one call for all its rows, so an error costs the whole call.

A row's verdict depends neither on the number of workers nor on which host it went to, as long as the reward keeps
nothing between its calls.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from policies.json_types import JsonMapping
from rewards.errors import RewardLoadError
from rewards.hosts.channel import HostGone, HostProtocolError, HostTimeout
from rewards.hosts.futures import joined
from rewards.hosts.host_process import Host, HostSpec
from rewards.rows import RewardRow
from rewards.types import Needs, Score
from rewards.values import failed

__all__ = ["HostPool", "HostSpec", "check_reward", "rows_per_call"]

_MAX_ROWS_PER_CALL = 512
_CHEAP_ROWS_PER_CALL = 16
"""A call of fewer rows costs more than the cheapest rewards take for them; no call needs more to pay off."""
_CALLS_PER_WORKER = 16
"""Rows differ in cost a hundredfold: with few large calls one worker ends long before the other."""
_MAX_DEATHS_IN_A_ROW = 8
_GIVE_UP_BLOCK = 32
"""Rows of a call within which deaths are counted. Fixed, so that verdicts do not depend on the number of workers."""


@dataclass(frozen=True)
class _Call:
    """The rows of one `submit` with what is known of them so far. Threads write to different rows."""

    rows: Sequence[RewardRow]
    scores: list[Score | None]
    fatal: set[int] = field(default_factory=set)
    """Rows (row-wise rewards) at which the host hung, died or broke the protocol."""


class HostPool:
    """Up to `workers` hosts of one reward. `start` loads them all; any thread may then call `submit` and `score`."""

    def __init__(self, spec: HostSpec, workers: int) -> None:
        self._spec, self._workers = spec, workers
        self._idle: SimpleQueue[Host | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._running: set[Host] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = threading.Event()
        self.calls = 0
        """Calls that came back …"""
        self.leaked = 0
        """… and those that left a process or a thread behind."""
        self.style = ""
        self.needs = Needs()
        self.is_row_wise = False

    def start(self) -> None:
        """Start the hosts and load the reward in each. Raises RewardLoadError, with no process left."""
        first = self._new_host()
        self._idle.put(first)
        self.style, self.is_row_wise, self.needs = first.style, first.is_row_wise, first.needs
        if not self.is_row_wise:
            # One call sees all rows of a group, and what the function keeps between calls stays in one place.
            self._workers = 1
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="reward")
        more = [self._threads.submit(self._new_host) for _ in range(self._workers - 1)]
        errors = [future.exception() for future in more]
        for future, error in zip(more, errors, strict=True):
            if error is None:
                self._idle.put(future.result())
        for error in errors:
            if error is not None:
                self.close()
                raise error

    def submit(self, rows: Sequence[RewardRow]) -> Future[list[Score]]:
        """Queue the rows behind those of earlier calls; the future holds one verdict per row, in order.

        Raises:
            RuntimeError: the pool is not started, or closed.
        """
        if self._threads is None:
            raise RuntimeError("HostPool.start() has not been called")
        call = _Call(rows, [None] * len(rows))
        parts = [self._threads.submit(self._score_part, call, part) for part in self._parts(rows)]
        return joined(parts, lambda: self._verdicts(call))

    def score(self, rows: Sequence[RewardRow]) -> list[Score]:
        """One verdict per row, in order."""
        return self.submit(rows).result()

    def close(self) -> None:
        """End all hosts. Rows still without a verdict get an error. May be called twice."""
        self._closed.set()
        self._dismiss_idle()
        with self._lock:
            busy = list(self._running)
        for host in busy:
            host.kill()
        if self._threads is not None:
            self._threads.shutdown()
        self._dismiss_idle()  # those whose call ended while this method ran

    def _parts(self, rows: Sequence[RewardRow]) -> Iterator[range]:
        """Index ranges, one call each; a list-wise reward never sees a group cut in two."""
        if self.is_row_wise:
            size = rows_per_call(len(rows), self._workers)
            yield from (range(at, min(at + size, len(rows))) for at in range(0, len(rows), size))
            return
        start = 0
        for at in range(1, len(rows) + 1):
            is_border = at == len(rows) or rows[at].group_index != rows[at - 1].group_index
            if is_border and (at == len(rows) or _border_after(rows, at) - start > _MAX_ROWS_PER_CALL):
                yield range(start, at)
                start = at

    def _score_part(self, call: _Call, part: range) -> None:
        """Score the rows of a part on one host, and on its successors if it dies. Leaves no row without a verdict
        but those that `_verdicts` gives up.
        """
        host = self._idle.get()
        todo = list(part)
        try:
            while todo:
                if self._gives_up and todo[0] in _hopeless(call, todo[0]):
                    todo.pop(0)
                    continue
                host = host or self._restart(call, todo)
                if host is None:
                    break
                host = self._call(host, call, todo)
        finally:
            self._idle.put(host)

    def _call(self, host: Host, call: _Call, todo: list[int]) -> Host | None:
        """One call for the rows in `todo`, which shrinks by those with a verdict. None if the host had to be ended."""
        asked = list(todo)
        expected = iter(asked)

        def take(number: int, score: Score) -> None:
            if asked[number] != next(expected, None):
                raise HostProtocolError("results out of order")
            call.scores[asked[number]] = score
            todo.pop(0)

        try:
            reusable = host.call([call.rows[at] for at in asked], take)
        except HostTimeout:
            failure = failed("timeout", f"no verdict after {self._spec.timeout_s:g} s", self._spec.timeout_s)
        except HostGone:
            failure = failed("error", f"its process ended: {host.fate()}")
        except (HostProtocolError, LookupError, TypeError, ValueError) as error:
            failure = failed("error", f"the reward disturbed its result channel: {error}")
        else:
            if todo:
                _fill(call.scores, todo, failed("error", "no verdict came back"))
            with self._lock:
                self.calls += 1
                self.leaked += not reusable
            if not reusable:
                self._end(host)
            return host if reusable else None
        self._end(host)
        if self._closed.is_set():
            failure = failed("error", "the scorer was closed")
        elif todo and self.is_row_wise:
            call.fatal.add(todo[0])
        _fill(call.scores, todo, failure, at_most=1 if self.is_row_wise else len(todo))
        return None

    def _verdicts(self, call: _Call) -> list[Score]:
        """The scores of a call whose parts are all done.

        Of a plug-in that dies at row after row, the rest of the block is given up, also what another host has tried
        meanwhile: so the verdicts are the same with any number of workers.
        """
        if self._gives_up:
            reason = f"not tried: the {_MAX_DEATHS_IN_A_ROW} rows before it ended their process"
            for start in range(0, len(call.rows), _GIVE_UP_BLOCK):
                for at in _hopeless(call, min(start + _GIVE_UP_BLOCK, len(call.rows)) - 1):
                    call.scores[at] = failed("error", reason)
        return [score or failed("error", "no verdict came back") for score in call.scores]

    @property
    def _gives_up(self) -> bool:
        return self.is_row_wise and self._spec.gives_up

    def _restart(self, call: _Call, todo: list[int]) -> Host | None:
        if self._closed.is_set():
            _fill(call.scores, todo, failed("error", "the scorer was closed"))
            return None
        try:
            return self._new_host()
        except RewardLoadError as error:
            _fill(call.scores, todo, failed("error", f"could not be loaded again: {error}"))
            return None

    def _new_host(self) -> Host:
        host = Host(self._spec)
        with self._lock:
            self._running.add(host)
        return host

    def _end(self, host: Host) -> None:
        with self._lock:
            self._running.discard(host)
        host.end()

    def _dismiss_idle(self) -> None:
        """Let the idle hosts leave; parts that are still queued find None in their place."""
        hosts: list[Host | None] = []
        while True:
            try:
                hosts.append(self._idle.get_nowait())
            except Empty:
                break
        for host in hosts:
            if host is not None:
                with self._lock:
                    self._running.discard(host)
                host.leave()
            self._idle.put(None)


def rows_per_call(rows: int, workers: int) -> int:
    """Return how many rows of a row-wise reward go into one call of a host.

    A few rows are divided evenly, ceil(rows / workers), so that every worker has some; many rows are divided into
    several calls for each worker, all of about one size, so that the workers also end together.
    """
    size = max(_CHEAP_ROWS_PER_CALL, math.ceil(rows / (_CALLS_PER_WORKER * workers)))
    rounds = math.ceil(rows / (workers * min(size, _MAX_ROWS_PER_CALL)))
    return max(1, math.ceil(rows / (workers * max(rounds, 1))))


def check_reward(name: str, params: JsonMapping | None = None) -> Needs:
    """Load a reward in a process of its own and end it; returns what it needs of the data. Raises RewardLoadError."""
    host = Host(HostSpec(name, params or {}, timeout_s=1.0))
    host.leave()
    return host.needs


def _hopeless(call: _Call, last: int) -> range:
    """Return the rows of `last`'s block, up to `last`, that follow 8 rows in a row that ended their process."""
    deaths = 0
    for at in range(last - last % _GIVE_UP_BLOCK, last):
        deaths = deaths + 1 if at in call.fatal else 0
        if deaths == _MAX_DEATHS_IN_A_ROW:
            return range(at + 1, last + 1)
    return range(0)


def _fill(scores: list[Score | None], todo: list[int], score: Score, at_most: int | None = None) -> None:
    """Give the first `at_most` rows in `todo` (all by default) this verdict and take them off the list."""
    for at in todo[:at_most]:
        scores[at] = score
    del todo[:at_most]


def _border_after(rows: Sequence[RewardRow], at: int) -> int:
    """Return the first index behind `at` where another group begins."""
    end = at + 1
    while end < len(rows) and rows[end].group_index == rows[at].group_index:
        end += 1
    return end
