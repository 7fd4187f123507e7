"""A share of what benchmarks/math_agreement.py measures: cases whose labels no parser of ours had a say in."""

import pytest

from benchmarks.math_agreement_cases import Case, generated
from benchmarks.math_agreement_hand import hand
from rewards.math.accuracy import accuracy, warm_up
from rewards.rows import RewardRow

KNOWN_MISSES = {
    "half an hour", "quarter to four", "|x - 1| < 2", "x^2 + c",
}  # fmt: skip
"""Right answers that are not understood; they cost a sample and teach nothing wrong."""


@pytest.fixture(scope="module", autouse=True)
def _warm():
    warm_up()


def _wrong(cases: list[Case]) -> list[tuple[str, str, float | None]]:
    scores = [accuracy(RewardRow(f"<answer>{c.answer}</answer>", c.prompt, c.reference)).total for c in cases]
    return [(c.reference, c.answer, s) for c, s in zip(cases, scores, strict=True) if s != float(c.right)]


def test_cases_labelled_by_hand():
    cases = list(hand())
    assert len(cases) > 600
    wrong = _wrong(cases)
    assert {answer for _, answer, _ in wrong} == KNOWN_MISSES, wrong
    assert {score for *_, score in wrong} == {0.0}


def test_cases_made_by_construction():
    cases = generated(seed=11, size=16)
    assert len(cases) > 1500
    assert _wrong(cases) == []


def test_construction_repeats():
    assert generated(3, 10) == generated(3, 10)
    assert generated(3, 10) != generated(4, 10)
