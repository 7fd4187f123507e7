"""Ratings against a closed form and a search of the likelihood in plain float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grpo.rl.rating import probability, problem_rating, rate

ratings = st.floats(800, 3500)
shares = st.integers(0, 8).map(lambda n: n / 8)
problems = st.lists(st.tuples(ratings, shares), min_size=1, max_size=12)


def by_search(found: list[tuple[float, float]]) -> float:
    """Return the rating of the largest log-likelihood on finer and finer grids."""
    difficulty, share = np.array(found).T
    low, high = -10_000.0, 20_000.0
    for _ in range(12):
        grid = np.linspace(low, high, 401)
        odds = (grid[:, None] - difficulty) * math.log(10) / 400
        solved, failed = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
        best = int(np.argmax((share * solved + (1 - share) * failed).sum(axis=1)))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 400)]
    return (low + high) / 2


@given(problems)
def test_the_rating_is_the_maximum_of_the_likelihood(found: list[tuple[float, float]]) -> None:
    assume(0 < sum(share for _, share in found) < len(found))
    rating = rate(found)
    assert rating.value == pytest.approx(by_search(found), abs=0.05)  # flat there: float64 sees no closer
    assert math.fsum(probability(rating.value or 0, d) for d, _ in found) == pytest.approx(
        math.fsum(share for _, share in found), abs=1e-9
    )


@given(ratings, st.integers(1, 15))
def test_problems_of_one_rating_have_a_closed_form(difficulty: float, solved: int) -> None:
    rating = rate([(difficulty, solved / 16)] * 5)
    assert rating.value == pytest.approx(difficulty + 400 * math.log10(solved / (16 - solved)), abs=1e-6)


def test_known_chances() -> None:
    assert probability(1500, 1500) == 0.5
    assert probability(1900, 1500) == pytest.approx(10 / 11)
    assert probability(1e6, 0) == 1
    assert probability(0, 1e6) == 0


@given(problems, st.floats(-500, 500))
def test_a_shift_of_the_scale_shifts_the_rating(found: list[tuple[float, float]], by: float) -> None:
    assume(0 < sum(share for _, share in found) < len(found))
    first, moved = rate(found), rate([(d + by, share) for d, share in found])
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(first, name) + by, abs=1e-5)


@given(problems, st.integers(0, 11))
def test_another_solved_problem_never_lowers_the_rating(found: list[tuple[float, float]], at: int) -> None:
    at %= len(found)
    better = [(d, 1.0 if number == at else share) for number, (d, share) in enumerate(found)]
    before, after = rate(found), rate(better)
    assume(before.value is not None and after.value is not None)
    assert after.value >= before.value - 1e-9  # type: ignore[operator]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_or_nothing_has_no_rating(share: float) -> None:
    rating = rate([(1200, share), (1900, share)])
    assert (rating.value, rating.low, rating.high, rating.solved) == (None, None, None, share)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        difficulty = rng.uniform(1000, 2600, 60)
        # the samples of a problem share luck, as a policy's do: only the spread between problems tells
        luck = rng.uniform(size=60) < [probability(1700, d) for d in difficulty]
        rating = rate(list(zip(difficulty.tolist(), luck.astype(float).tolist(), strict=True)))
        covered += rating.low is not None and rating.high is not None and rating.low <= 1700 <= rating.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(
    ("value", "number"),
    [(None, None), ("", None), (1900, 1900.0), (" 2100 ", 2100.0), ("hard", None), (math.nan, None), (True, None),
     ([1900], None), (10**400, None)],
)  # fmt: skip
def test_what_a_column_holds(value: object, number: float | None) -> None:
    assert problem_rating(value) == number


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="no problem"):
        rate([])
    with pytest.raises(ValueError, match=r"share 1\.5"):
        rate([(1500, 1.5)])
