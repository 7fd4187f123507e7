"""The canary's verdict, without an engine."""

from __future__ import annotations

import numpy as np
import pytest

from rollout.canary import Canary, CanaryTolerance, check_canary
from rollout.errors import WeightSyncError

CANARIES = (
    Canary((5, 6, 7), np.array([-1.0, -2.0], dtype=np.float32)),
    Canary((8, 9), np.array([-3.0], dtype=np.float32)),
)
TOLERANCE = CanaryTolerance(each=0.1, mean=0.02)


def answers(*values: float) -> list[np.ndarray]:
    return [np.array(values[:2], dtype=np.float32), np.array(values[2:], dtype=np.float32)]


def test_canary_within_tolerance_reports_largest_and_mean() -> None:
    largest, mean = check_canary(CANARIES, answers(-1.0, -2.03, -3.0), TOLERANCE, 1)
    assert largest == pytest.approx(0.03, abs=1e-6)
    assert mean == pytest.approx(0.01, abs=1e-6)


def test_canary_names_prompt_position_and_both_values() -> None:
    with pytest.raises(WeightSyncError) as caught:
        check_canary(CANARIES, answers(-1.0, -2.5, -3.0), TOLERANCE, 4)
    assert all(
        part in str(caught.value)
        for part in (
            "version 4",
            "canary prompt 0",
            "position 2",
            "token 7",
            "engine -2.500000",
            "learner -2.000000",
        )
    )


def test_many_small_gaps_fail_by_their_mean() -> None:
    with pytest.raises(WeightSyncError, match="mean"):
        check_canary(CANARIES, answers(-1.05, -2.05, -3.05), TOLERANCE, 4)


def test_nan_fails_the_canary() -> None:
    with pytest.raises(WeightSyncError, match="canary prompt 1, position 1"):
        check_canary(CANARIES, answers(-1.0, -2.0, float("nan")), TOLERANCE, 4)


def test_missing_answers_fail_the_canary() -> None:
    with pytest.raises(WeightSyncError, match="2 canary prompts, 1 answers"):
        check_canary(CANARIES, answers(-1.0, -2.0, -3.0)[:1], TOLERANCE, 4)
    with pytest.raises(WeightSyncError, match="log-probs"):
        check_canary(CANARIES, [np.zeros(3), np.zeros(1)], TOLERANCE, 4)
