"""Decide whether two answers count as the same vote: compare them as `accuracy` does, each in turn as the reference.

Majority voting (grpo/rl/votes.py) runs this in a reward host, which is killed from outside if a comparison hangs.
"""

from __future__ import annotations

from rewards.math.accuracy import CPU_BUDGET_S, compared, is_correct, warm_up
from rewards.rows import RewardRow
from rewards.types import Score


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

        def either_way() -> tuple[bool, str]:
            return is_correct(first, second)[0] or is_correct(second, first)[0], ""

        return compared(either_way, self._cpu_budget_s)
