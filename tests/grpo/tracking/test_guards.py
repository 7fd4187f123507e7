"""The guards as functions of rows: what warns, what stops, and streams of figures that are healthy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.common.errors import GuardTripped
from grpo.config.sections import GuardConfig
from grpo.tracking.guards import Guards
from grpo.tracking.signal import phase_row, resolve_limits
from rewards.config import AuditConfig
from rewards.scoring.monitor import Finding

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"


class Judge:
    """Guards over one reward, fed with one row per phase."""

    def __init__(self, bounds: Mapping[str, Any], audit: Mapping[str, Any]) -> None:
        limits = resolve_limits(GuardConfig(**bounds), "float32", mini_batches=1)
        self._guards = Guards(limits, ["helpful"], AuditConfig(**audit), "helpful")

    def check(self, row: Mapping[str, float]) -> list[Finding]:
        return self._guards.check(row, [{}])


def guards(bounds: Mapping[str, Any] | None = None, **audit: Any) -> Judge:
    return Judge({"window": 2} if bounds is None else bounds, audit)


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


def test_groups_without_variance_are_warned_of_and_stop_the_run_below_one() -> None:
    flat = {"reward/helpful": 0.5, "reward_std/helpful": 0.1, "group/zero_variance_share": 1.0}
    judge = guards()
    judge.check(flat)
    (finding,) = judge.check(flat)
    assert finding.kind == "zero_variance"
    assert judge.check(flat | {"group/zero_variance_share": 0.99}) == []
    strict = guards({"window": 2, "max_zero_variance": 0.9})
    strict.check(flat)
    with pytest.raises(
        GuardTripped, match=r"groups have rewards without variance.*guards\.max_zero_variance"
    ):
        strict.check(flat)


def test_a_phase_is_judged_by_all_its_updates() -> None:
    """Means, but for maxima; one value that is not finite spoils the phase, wherever it stands."""
    updates = [
        {"zero_gradient": 1.0, "policy/ratio_max": 3.0, "logprob_mismatch/max": 0.1, "loss": math.inf},
        {"zero_gradient": 0.0, "policy/ratio_max": 2.0, "logprob_mismatch/max": 0.2, "loss": -math.inf},
        {"zero_gradient": 0.0},
        {"zero_gradient": 1.0, "loss": 0.0},
    ]
    row = phase_row({"length/mean": 4.0}, updates)
    assert row["loss"] == math.inf
    assert {k: row[k] for k in ("zero_gradient", "policy/ratio_max", "logprob_mismatch/max", "updates")} == {
        "zero_gradient": 0.5, "policy/ratio_max": 3.0, "logprob_mismatch/max": 0.2, "updates": 4.0,
    }  # fmt: skip
    assert row["length/mean"] == 4.0


@pytest.mark.parametrize("mini_batches", [1, 4])
def test_the_slope_of_the_entropy_is_per_update(mini_batches: int) -> None:
    """A fall of 0.8 of its logarithm per phase is 0.2 per update with four of them."""
    judge = Guards(
        resolve_limits(GuardConfig(warn_entropy_fall=0.3), "float32", mini_batches), ["r"], AuditConfig(), "r"
    )
    found: list[Finding] = []
    for phase in range(5):
        entropy = 3.0 * math.exp(-0.8 * phase)
        row = {"reward/r": 0.5, "reward_std/r": 0.5, "reward/total": 0.5}
        found += judge.check(row, [{"policy/entropy": entropy}] * mini_batches)
    assert [f.kind for f in found] == (["entropy_fall"] if mini_batches == 1 else [])


def test_an_entropy_is_judged_over_five_phases_even_with_a_shorter_window() -> None:
    judge = guards({"window": 1})
    kinds = []
    for phase in range(6):
        row = HEALTHY | {"reward/total": 0.5, "policy/entropy": math.exp(-0.4 * phase)}
        kinds.append([f.kind for f in judge.check(row)])
    assert kinds == [[], [], [], [], ["entropy_fall"], ["entropy_fall"]]


@pytest.mark.parametrize("name", ["r1_zero_tiny_long", "smollm2_arithmetic", "smollm2_gsm8k"])
def test_curves_of_real_runs_are_left_alone(name: str) -> None:
    """Entropy and rewards of runs that learnt: with the defaults, no finding on the entropy and no end."""
    judge = guards({})
    curve = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["curve"]
    assert len(curve) >= 20
    for point in curve:
        total = point["reward/accuracy"] + point.get("reward/format", 0.0)
        row = {"reward/total": total, "reward/helpful": total, "reward_std/helpful": 0.5}
        seen = {key: value for key, value in point.items() if key.startswith(("policy/", "group/"))}
        assert judge.check(row | seen) == []


HEALTHY = {
    "reward/helpful": 0.5, "reward_std/helpful": 0.5, "reward_abstained/helpful": 0.0, "reward/total": 0.5,
    "reward/abstained_share": 0.0, "length/mean": 100.0, "length/max": 200.0, "length/truncated_share": 0.1,
    "group/zero_variance_share": 0.4, "loss": 0.01, "grad_norm": 0.5, "zero_gradient": 0.0, "policy/entropy": 0.8,
    "policy/kl": 0.001, "policy/clip_frac": 0.01, "policy/ratio_mean": 1.0, "policy/ratio_max": 1.5,
    "logprob_mismatch/mean": 1e-5, "logprob_mismatch/max": 1e-4, "rollout/staleness_max": 1.0, "lr": 1e-6,
}  # fmt: skip
JUDGED_OVER_THE_WINDOW = {
    "reward/helpful",
    "reward_std/helpful",
    "reward_abstained/helpful",
    "reward/total",
} | {"reward/abstained_share"}
RANGES = {
    "reward/helpful": (0.1, 0.9), "reward_std/helpful": (0.1, 0.5), "reward/total": (-1.0, 2.0),
    "reward/abstained_share": (0.0, 0.1), "length/truncated_share": (0.0, 0.6),
    "group/zero_variance_share": (0.0, 0.95), "loss": (-1.0, 1.0), "grad_norm": (1e-3, 50.0),
    "policy/kl": (0.0, 1.0), "policy/clip_frac": (0.0, 0.25), "policy/ratio_max": (1.0, 50.0),
    "logprob_mismatch/mean": (0.0, 5e-4), "logprob_mismatch/max": (0.0, 1.0), "policy/entropy": (0.6, 1.2),
}  # fmt: skip
"""What the figures of a run that learns, or has learnt, may do from phase to phase."""


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, float]]:
    """Phases whose figures jump about inside `RANGES`, round a level of the entropy that drifts slowly."""
    length = draw(st.integers(5, 20))
    drift = draw(st.floats(-0.03, 0.03))
    values = {name: st.floats(low, high) for name, (low, high) in RANGES.items()}
    rows = draw(st.lists(st.fixed_dictionaries(values), min_size=length, max_size=length))
    return [
        HEALTHY | row | {"policy/entropy": row["policy/entropy"] ** 0.25 * math.exp(drift * i)}
        for i, row in enumerate(rows)
    ]


@given(streams())
def test_a_healthy_stream_never_trips(rows: list[dict[str, float]]) -> None:
    judge = guards({})
    for row in rows:
        kinds = {finding.kind for finding in judge.check(row)}
        assert kinds <= {"constant"}  # what is drawn may stand still


@given(
    rows=streams(),
    name=st.sampled_from(sorted(set(HEALTHY) - JUDGED_OVER_THE_WINDOW)),
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
    at=st.integers(0, 4),
    update=st.integers(0, 2),
)
def test_a_figure_that_is_not_finite_stops_the_run_at_once(
    rows: list[dict[str, float]], name: str, value: float, at: int, update: int
) -> None:
    """Whichever it is, in whichever phase, in the phase's own figures or in one of its updates."""
    limits = resolve_limits(GuardConfig(), "float32", mini_batches=3)
    judge = Guards(limits, ["helpful"], AuditConfig(), "helpful")
    for row in rows[:at]:
        judge.check(row, [row] * 3)
    updates = [rows[at] | ({name: value} if i == update else {}) for i in range(3)]
    with pytest.raises(GuardTripped, match=f"not finite: {name} = {value}"):
        judge.check({}, updates)


@given(name=st.sampled_from(sorted(JUDGED_OVER_THE_WINDOW)), value=st.sampled_from([math.inf, -math.inf]))
def test_an_infinite_reward_stops_the_run_at_once(name: str, value: float) -> None:
    with pytest.raises(GuardTripped, match=f"not finite: {name} = {value}"):
        guards().check(HEALTHY | {name: value})


def test_a_reward_without_a_verdict_in_every_phase_stops_the_run_after_the_window() -> None:
    """A phase without a verdict has NaN for its mean; that alone is no reason to stop."""
    judge = guards({})
    silent = HEALTHY | {"reward/helpful": math.nan, "reward/total": math.nan, "reward/abstained_share": 1.0}
    for _ in range(4):
        assert judge.check(silent) == []
    with pytest.raises(GuardTripped, match=r"100% of samples got no verdict .*guards\.max_abstained"):
        judge.check(silent)


@pytest.mark.parametrize(
    ("bounds", "dtype", "mini_batches", "expected"),
    [
        ({}, "float32", 1, (1e-3, 1)),
        ({}, "bfloat16", 16, (0.1, 16)),
        ({"max_logprob_mismatch": 0.5, "max_staleness": 3}, "bfloat16", 16, (0.5, 3)),
    ],
)
def test_bounds_that_the_recipe_leaves_open(
    bounds: dict[str, Any], dtype: str, mini_batches: int, expected: tuple[float, int]
) -> None:
    limits = resolve_limits(GuardConfig(**bounds), dtype, mini_batches)
    assert (limits.mismatch, limits.staleness) == expected
