"""Figures of a phase, by hand and against NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.scoring.stats import AUDIT, audit_counts, length_correlation, phase_figures, variance_shares
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup


def group(*rows: dict, lengths: list[int] | None = None, weights=None, truncated=()) -> ScoredGroup:
    """One sample per row of components; its total is their weighted sum, None where one is."""
    weights = weights or {}
    lengths = lengths or [1] * len(rows)
    ends = ["length" if i in truncated else "stop" for i in range(len(rows))]
    samples = tuple(
        Sample("p", i, np.zeros(n, np.int32), np.zeros(n, np.float32), "", end, 0, 0, 0)
        for i, (n, end) in enumerate(zip(lengths, ends, strict=True))
    )
    scores = []
    for row in rows:
        decide = {k: v for k, v in row.items() if k != AUDIT and weights.get(k, 1.0)}
        missing = any(v is None for v in decide.values())
        total = None if missing else sum(weights.get(k, 1.0) * v for k, v in decide.items())
        scores.append(Score(total, row, "abstain" if missing else "ok"))
    return ScoredGroup(SampleGroup(Prompt("p", "q", (1,), None), samples), tuple(scores))


def test_shares_by_hand() -> None:
    # a varies by ±1/2 around its mean, b by nothing within a group: all of the spread is a's.
    groups = [
        group({"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 1.0}),
        group({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}),
    ]
    assert variance_shares(groups, {"a": 1.0, "b": 1.0}) == {"a": 1.0, "b": 0.0}
    # Two that always go together share it; weight 3 makes three quarters.
    both = [group({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0}, weights={"b": 3.0})]
    assert variance_shares(both, {"a": 1.0, "b": 3.0}) == pytest.approx({"a": 0.25, "b": 0.75})


def test_zero_variance_no_shares_and_weight_zero_never_decides() -> None:
    assert variance_shares([group({"a": 1.0}, {"a": 1.0})], {"a": 1.0}) == {}
    measured = [group({"a": 0.0, "m": 5.0}, {"a": 1.0, "m": -5.0}, weights={"m": 0.0})]
    assert variance_shares(measured, {"a": 1.0, "m": 0.0}) == {"a": 1.0}


VALUES = st.lists(st.tuples(*[st.floats(-5, 5)] * 3), min_size=2, max_size=6)


@given(st.lists(VALUES, min_size=1, max_size=4), st.tuples(*[st.floats(0.1, 3)] * 3))
def test_shares_add_up_to_one_and_are_covariances(data: list, raw: tuple) -> None:
    weights = dict(zip("abc", raw, strict=True))
    groups = [group(*(dict(zip("abc", row, strict=True)) for row in rows), weights=weights) for rows in data]
    shares = variance_shares(groups, weights)
    centred = np.concatenate([(x := np.array(rows) * raw) - x.mean(axis=0) for rows in data])
    total = centred.sum(axis=1)
    if not shares:
        assert (total**2).sum() < 1e-9
        return
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-6)
    expected = centred.T @ total / (total @ total)
    assert [shares[k] for k in "abc"] == pytest.approx(list(expected), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(1, 50)), min_size=3, max_size=8))
def test_length_correlation_of_one_group_is_numpys(rows: list[tuple[int, int]]) -> None:
    values, lengths = zip(*rows, strict=True)
    found = length_correlation([group(*({"a": float(v)} for v in values), lengths=list(lengths))], "a")
    if len(set(values)) == 1 or len(set(lengths)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(np.corrcoef(values, lengths)[0, 1], abs=1e-9)


def test_length_correlation_compares_inside_groups_and_leaves_truncated_ones_out() -> None:
    # The hard question has long, failing replies: between groups that is a correlation, inside there is none.
    easy = group({"a": 1.0}, {"a": 0.0}, {"a": 1.0}, {"a": 0.0}, lengths=[5, 5, 7, 7])
    hard = group({"a": 0.0}, {"a": 0.0}, lengths=[90, 99])
    assert length_correlation([easy, hard], "a") == pytest.approx(0.0)
    cut = group({"a": 0.0}, {"a": 0.0}, {"a": 1.0}, lengths=[500, 10, 12], truncated=(0,))
    assert length_correlation([cut], "a") == pytest.approx(1.0)


def test_length_correlation_does_not_hang_on_one_odd_sample() -> None:
    lengths = [*range(10, 39), 500]
    one = group(*({"a": float(n == 500)} for n in lengths), lengths=lengths)
    assert length_correlation([one], "a") is None
    assert length_correlation([one], "b") is None
    two = group(*({"a": float(n >= 38)} for n in lengths), lengths=lengths)
    assert length_correlation([two], "a") is not None


def test_audit_counts_only_samples_that_both_judged() -> None:
    scored = group(
        {"a": 1.0, AUDIT: 1.0}, {"a": 1.0, AUDIT: 0.0}, {"a": 0.0, AUDIT: 1.0}, {"a": 0.0, AUDIT: None}, {"a": 1.0}
    )  # fmt: skip
    counts = audit_counts([scored], "a")
    assert (counts.agree, counts.only_reward, counts.only_verifier, counts.unjudged) == (1, 1, 1, 1)


def test_figures_have_the_names_of_the_metrics_and_leave_the_verifier_out() -> None:
    scored = group({"a": 1.0, "s": None, AUDIT: 0.0}, {"a": 0.0, "s": None, AUDIT: 0.0}, lengths=[3, 9],
                   weights={"s": 0.0})  # fmt: skip
    figures = phase_figures([scored], {"a": 1.0, "s": 0.0}, "a")
    assert math.isnan(figures.pop("reward/s"))
    assert figures == {
        "reward/a": 0.5, "reward_std/a": 0.5, "reward_abstained/a": 0.0, "reward_std/s": 0.0, "reward_abstained/s": 1.0,
        "reward_share/a": 1.0, "length_corr/a": pytest.approx(-1.0), "length_corr/total": pytest.approx(-1.0),
        "audit/agree": 1.0, "audit/only_reward": 1.0, "audit/only_verifier": 0.0, "audit/unjudged": 0.0,
    }  # fmt: skip
