"""Calls a reward from several threads concurrently, for the laboratory. Runs inside a reward host like any plug-in.

A trainer or an evaluation harness may call a reward from a thread pool (TRL, verl and AReaL do). A reward that
keeps its working state in globals, or that sets a signal alarm, then returns other values or fails.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from policies.json_types import JsonMapping
from rewards.registry import load_reward
from rewards.rows import RewardRow
from rewards.signatures import call_batch, call_row
from rewards.types import RewardBatch, Score
from rewards.values import failed

_SWITCH_S = 1e-5
"""Thread switch interval in seconds, 1/500 of the default, so that races show."""


class ThreadedReward:
    """Lets every thread score every row, each from another start; a row on which threads disagree is an `error`."""

    def __init__(
        self,
        name: str,
        params: JsonMapping,
        threads: int = 4,
        budget_s: float = 2.0,
        max_rounds: int = 40,
    ) -> None:
        """Load the reward.

        Args:
            name, params: name and parameters of the reward.
            threads: number of threads that call it concurrently.
            budget_s: rounds start until this processor time, or four times as much wall time, is used; every thread
                runs at least one.
            max_rounds: maximum number of rounds.
        """
        self._function = load_reward(name, params)
        self._threads, self._budget_s, self._max_rounds = threads, budget_s, max_rounds

    def __call__(self, batch: RewardBatch) -> list[Score]:
        """Return one score per row, on which all threads agree."""
        rows = _rows(batch)
        units = [[at] for at in range(len(rows))] if self._function.is_row_wise else _by_group(rows)
        found: list[list[Score]] = [[] for _ in rows]
        lock, start = threading.Lock(), threading.Barrier(self._threads)

        def work(number: int) -> None:
            start.wait()
            for turn in range(self._max_rounds):
                if turn and (time.process_time() > cpu_end or time.monotonic() > wall_end):
                    break
                shift = (number * len(units) // self._threads + turn * 7) % max(len(units), 1)
                for unit in (*units[shift:], *units[:shift]):
                    mine = [replace(rows[at]) for at in unit]
                    scores = (
                        [call_row(self._function, mine[0])]
                        if self._function.is_row_wise
                        else call_batch(self._function, mine, batch.deadline_s)
                    )
                    with lock:
                        for at, score in zip(unit, scores, strict=True):
                            found[at].append(score)

        # Races need processor time, scarce on a busy machine; the wall-clock limit ends a reward that only waits.
        cpu_end, wall_end = time.process_time() + self._budget_s, time.monotonic() + 4 * self._budget_s
        before = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_S)
        try:
            threads = [
                threading.Thread(target=work, args=(n,), name=f"lab-{n}") for n in range(self._threads)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(before)
        return [_agreed(scores) for scores in found]


def _agreed(scores: Sequence[Score]) -> Score:
    kinds = list(dict.fromkeys((score.total, score.verdict) for score in scores))
    if len(kinds) == 1:
        return scores[0]
    values = ", ".join(verdict if total is None else f"{total:g}" for total, verdict in kinds)
    reason = next((score.reason for score in scores if score.verdict == "error"), "")
    return failed("error", f"threads disagree: {values}" + (f" ({reason})" if reason else ""))


def _rows(batch: RewardBatch) -> list[RewardRow]:
    return [
        RewardRow(
            completion=batch.completions[at],
            prompt=batch.prompts[at],
            answer=batch.answers[at],
            columns={name: values[at] for name, values in batch.columns.items()},
            completion_ids=batch.completion_ids[at],
            group_index=batch.group_index[at],
            stage=batch.stage,
            step=batch.step,
        )
        for at in range(len(batch.completions))
    ]


def _by_group(rows: Sequence[RewardRow]) -> list[list[int]]:
    groups: dict[int, list[int]] = {}
    for at, row in enumerate(rows):
        groups.setdefault(row.group_index, []).append(at)
    return list(groups.values())
