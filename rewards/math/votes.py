"""Decide whether two answers count as the same vote: compare them as `accuracy` does, each in turn as the reference.

Majority voting (grpo/rl/votes.py) runs this in a reward host, which is killed from outside if a comparison hangs.
"""

from __future__ import annotations

from rewards.math.accuracy import CPU_BUDGET_S, OutOfTime, cpu_budget, is_correct, warm_up
from rewards.math.symbolic import Refused
from rewards.rows import RewardRow
from rewards.types import Score
from rewards.values import failed


class SameValue:
    """A row-wise reward: 1.0 if `row.completion` and `row.answer`, both bare answers, have the same value, else 0.0.

    It reports `timeout` if a pair exceeds its budget of CPU time (`cpu_budget_s` seconds).
    """

    def __init__(self, cpu_budget_s: float = CPU_BUDGET_S) -> None:
        """Load the symbolic parser now: it takes seconds, which should not count against any pair's budget."""
        self._cpu_budget_s = cpu_budget_s
        warm_up()

    def __call__(self, row: RewardRow) -> Score:
        """Compare the two answers of one pair."""
        first, second = str(row.answer), row.completion
        try:
            with cpu_budget(self._cpu_budget_s):
                same = is_correct(first, second)[0] or is_correct(second, first)[0]
        except OutOfTime:
            return failed("timeout", f"comparing took more than {self._cpu_budget_s:g} s of processor time")
        except Refused as refused:
            return Score(0.0, reason=f"not compared: {refused}")
        except (RecursionError, MemoryError) as error:
            return Score(0.0, reason=f"not compared: {type(error).__name__}")
        return Score(1.0 if same else 0.0)
