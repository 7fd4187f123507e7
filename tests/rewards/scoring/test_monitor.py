"""Planted hacks in the figures of a run, and healthy runs that must stay unaccused."""

from __future__ import annotations

import math

import pytest

from rewards.config import AuditConfig
from rewards.scoring.monitor import findings, history, summary, verifier_finding

BOTH = ("accuracy", "format")
HEALTHY = {
    "reward/accuracy": 0.5, "reward_std/accuracy": 0.5, "reward_abstained/accuracy": 0.0,
    "reward_share/accuracy": 0.8, "length_corr/accuracy": -0.3,
    "reward/format": 0.8, "reward_std/format": 0.4, "reward_abstained/format": 0.0, "reward_share/format": 0.2,
    "length_corr/format": 0.1,
}  # fmt: skip


def found(change: dict, main: str = "accuracy", names: tuple[str, ...] = BOTH, **audit: object):
    return findings([HEALTHY | change] * 3, names, AuditConfig(**audit), main)


def kinds(change: dict, **options: object) -> list[tuple[str, str]]:
    return [(f.kind, f.component) for f in found(change, **options)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"reward_share/format": 0.99, "reward_share/accuracy": 0.01}, [("dominates", "format")]),
        ({"reward_share/format": 0.01, "reward_share/accuracy": 0.99}, []),
        ({"length_corr/format": 0.95}, [("length", "format")]),
        ({"length_corr/format": 0.95, "reward_share/format": 0.01}, []),  # not what the policy follows
        ({"length_corr/accuracy": -0.95}, [("length", "accuracy")]),
        ({"reward_abstained/format": 0.2}, [("abstains", "format")]),
        ({"reward_abstained/format": 0.05}, []),
        ({"reward/format": math.nan}, [("silent", "format")]),
        ({"reward/format": None}, [("silent", "format")]),
        ({"reward/format": 1.0, "reward_std/format": 0.0}, [("constant", "format")]),
    ],
)
def test_planted_fault_is_found_and_nothing_else(change: dict, expected: list[tuple[str, str]]) -> None:
    assert kinds(change) == expected


def test_only_a_silent_reward_is_fatal() -> None:
    assert [f.is_fatal for f in found({"reward/format": math.nan})] == [True]
    assert [f.is_fatal for f in found({"reward_abstained/format": 0.5})] == [False]


def test_a_reward_that_applies_nowhere_is_absent() -> None:
    assert kinds({}, names=(*BOTH, "code")) == [("absent", "code")]


def test_a_side_reward_that_is_learnt_is_not_constant_and_the_main_one_is() -> None:
    rows = [
        HEALTHY
        | {"reward/format": 1.0, "reward_std/format": 0.0, "reward/accuracy": 1.0, "reward_std/accuracy": 0.0}
    ]
    found = findings(rows * 3, BOTH, AuditConfig(), "accuracy", varied={"format", "accuracy"})
    assert [(f.kind, f.component) for f in found] == [("constant", "accuracy")]
    half = [HEALTHY | {"reward/format": 0.5, "reward_std/format": 0.0}] * 3
    assert [f.component for f in findings(half, BOTH, AuditConfig(), "accuracy", varied={"format"})] == [
        "format"
    ]
    run = [
        HEALTHY | {"step": 1},
        *(HEALTHY | {"step": s, "reward/format": 1.0, "reward_std/format": 0.0} for s in (2, 3, 4)),
    ]
    assert history(run, BOTH, AuditConfig(), "accuracy", window=2) == []
    assert [e.finding.kind for e in history(run[1:], BOTH, AuditConfig(), "accuracy", window=2)] == [
        "constant"
    ]


def test_a_reward_whose_mean_moves_is_not_constant() -> None:
    rows = [HEALTHY | {"reward/format": mean, "reward_std/format": 0.0} for mean in (0.0, 1.0, 0.0)]
    assert findings(rows, BOTH, AuditConfig(), "accuracy") == []


def test_without_the_main_reward_the_first_one_may_dominate() -> None:
    assert kinds({"reward_share/accuracy": 0.99, "reward_share/format": 0.01}, main="code") == []
    change = {"reward_share/accuracy": 0.01, "reward_share/format": 0.99}
    assert kinds(change, main="code") == [("dominates", "format")]


def test_a_reward_alone_cannot_dominate() -> None:
    change = {"reward_share/format": 1.0, "reward_share/accuracy": 0.0, "reward_std/accuracy": 0.0}
    assert ("dominates", "format") not in kinds(change)


def test_rewards_that_are_functions_of_length_may_follow_it() -> None:
    row = {"reward/overlong": -0.5, "reward_std/overlong": 0.2, "length_corr/overlong": -1.0}
    assert kinds(row | {"reward_share/overlong": 0.5}, names=(*BOTH, "overlong")) == []
    assert kinds({"reward/overlong": 0.0, "reward_std/overlong": 0.0}, names=(*BOTH, "overlong")) == []


def test_bounds_come_from_the_config() -> None:
    change = {"length_corr/format": 0.5}
    assert kinds(change) == []
    assert kinds(change, max_length_correlation=0.4) == [("length", "format")]


def counts(agree: int, only_reward: int = 0, only_verifier: int = 0) -> dict:
    return {"audit/agree": agree, "audit/only_reward": only_reward, "audit/only_verifier": only_verifier,
            "audit/unjudged": 0}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "is_found"),
    [(counts(90, 10), False), (counts(88, 12), True), (counts(88, 0, 12), True), (counts(10, 9), False)],
)
def test_a_verifier_that_contradicts_is_heard_when_it_has_seen_enough(row: dict, is_found: bool) -> None:
    assert (verifier_finding([row], AuditConfig()) is not None) == is_found


def test_history_gives_each_fault_its_stretch_of_updates() -> None:
    rows = [HEALTHY | {"step": step} for step in range(1, 11)]
    for at in range(4, 7):  # updates 5, 6, 7
        rows[at] |= {"length_corr/format": 1.0}
    (episode,) = history(rows, BOTH, AuditConfig(), "accuracy", window=2)
    assert (episode.first, episode.last, episode.finding.kind) == (6, 7, "length")


def test_history_hears_the_verifier_over_many_phases() -> None:
    rows = [HEALTHY | {"step": step} | (counts(3, 2) if step % 2 else {}) for step in range(1, 21)]
    (episode,) = history(rows, BOTH, AuditConfig(), "accuracy", window=2)
    assert (episode.first, episode.last, episode.finding.kind) == (7, 19, "verifier")


def test_summary_has_a_line_for_each_reward_and_the_verifier() -> None:
    lines = list(summary([HEALTHY | counts(9, 1)] * 2, (*BOTH, "code"), AuditConfig()))
    assert lines[0].startswith(
        "accuracy: mean 0.5, std 0.5, 80% of the differences inside groups, correlation"
    )
    assert lines[2] == "code: applied to no prompt"
    assert "agrees on 90.0% of 20 samples; 2 only the reward accepts" in lines[3]
    assert len(lines) == 4
