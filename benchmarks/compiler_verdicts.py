"""A reward for benchmarks/compiler_reward_model.py: verdicts as sparse tests give them, often wrong.

    rewards = [{ name = "benchmarks/compiler_verdicts.py:Sparse", params = { flip = 0.2 } }]

A program is run against one test of its problem's, and a share of the verdicts is turned round. The noise belongs to
the program: the same program of a prompt has the same verdict whenever it is judged, as a weak test has.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from rewards.code.reward import Code
from rewards.rows import RewardRow
from rewards.types import Score


class Sparse:
    """1 or 0 by one test, turned round for a share of the programs."""

    def __init__(self, flip: float = 0.2, seed: int = 0) -> None:
        self._code = Code(test_s=1.0, total_s=2.0)
        self._flip, self._seed = flip, seed

    def __call__(self, row: RewardRow) -> Score:
        tests = row.columns["tests"]
        tests = json.loads(tests) if isinstance(tests, str) else tests
        one = tests[int(share_of(self._seed, row.prompt) * len(tests))]
        score = self._code(replace(row, columns={**row.columns, "tests": [one]}))
        if score.total is None or share_of(self._seed, row.prompt, row.completion) >= self._flip:
            return score
        return Score(1.0 - score.total, reason="turned round")


def share_of(*parts: object) -> float:
    """Return a number from 0 to 1, always the same for the same parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
