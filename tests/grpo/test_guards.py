"""Guards and rewards that do not apply yet."""

from __future__ import annotations

import math

import pytest

from grpo.config import GuardConfig
from grpo.errors import GuardTripped
from grpo.guards import Guards


def guards() -> Guards:
    return Guards(GuardConfig(window=2), ["helpful"], 1.0)


def test_a_reward_before_its_start_step_stops_nothing() -> None:
    judge = guards()
    assert judge.check({}) == []
    assert "applies to no prompt" in judge.check({})[0]
    assert judge.check({"reward/helpful": 0.5, "reward_std/helpful": 0.1}) == []


def test_a_reward_that_applies_and_gives_no_verdict_stops_the_run() -> None:
    judge = guards()
    judge.check({"reward/helpful": math.nan})
    with pytest.raises(GuardTripped, match="no verdict at all in the last 2 phases"):
        judge.check({"reward/helpful": math.nan})


def test_a_constant_reward_is_warned_of() -> None:
    judge = guards()
    judge.check({"reward/helpful": 1.0, "reward_std/helpful": 0.0})
    assert "constant at 1" in judge.check({"reward/helpful": 1.0, "reward_std/helpful": 0.0})[0]
