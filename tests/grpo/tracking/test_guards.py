"""Guards on the rewards: what warns, what stops."""

from __future__ import annotations

import math

import pytest

from grpo.common.errors import GuardTripped
from grpo.config.sections import GuardConfig
from grpo.tracking.guards import Guards
from rewards.config import AuditConfig


def guards(**audit: object) -> Guards:
    return Guards(GuardConfig(window=2), ["helpful"], 1.0, AuditConfig(**audit), "helpful")


def test_a_reward_before_its_start_step_stops_nothing() -> None:
    judge = guards()
    assert judge.check({}) == []
    assert "applies to no prompt" in judge.check({})[0].text
    assert judge.check({"reward/helpful": 0.5, "reward_std/helpful": 0.1}) == []


def test_a_reward_that_applies_and_gives_no_verdict_stops_the_run() -> None:
    judge = guards()
    judge.check({"reward/helpful": math.nan})
    with pytest.raises(GuardTripped, match="no verdict at all in the last 2 phases"):
        judge.check({"reward/helpful": math.nan})


def test_a_constant_reward_is_warned_of() -> None:
    judge = guards()
    judge.check({"reward/helpful": 1.0, "reward_std/helpful": 0.0})
    assert "constant at 1" in judge.check({"reward/helpful": 1.0, "reward_std/helpful": 0.0})[0].text


def test_a_second_verifier_is_heard_before_the_window_is_full_and_over_phases_without_it() -> None:
    judge = guards(of="helpful")
    healthy = {"reward/helpful": 0.5, "reward_std/helpful": 0.1}
    counts = {"audit/agree": 8.0, "audit/only_reward": 3.0, "audit/only_verifier": 0.0, "audit/unjudged": 0.0}
    assert judge.check(healthy | counts) == []  # eleven samples do not tell
    assert judge.check(healthy) == []
    (finding,) = judge.check(healthy | counts)
    assert finding.kind == "verifier"
    assert "27% of 22 samples" in finding.text
    assert "6 only the reward accepts" in finding.text


def test_groups_without_spread_are_warned_of_and_stop_the_run_below_one() -> None:
    flat = {"reward/helpful": 0.5, "reward_std/helpful": 0.1, "group/zero_variance_share": 1.0}
    judge = guards()
    judge.check(flat)
    (finding,) = judge.check(flat)
    assert finding.kind == "zero_variance"
    assert judge.check(flat | {"group/zero_variance_share": 0.99}) == []
    strict = Guards(GuardConfig(window=2, max_zero_variance=0.9), ["helpful"], 1.0, AuditConfig(), "helpful")
    strict.check(flat)
    with pytest.raises(
        GuardTripped, match=r"groups have rewards without variance.*guards\.max_zero_variance"
    ):
        strict.check(flat)
