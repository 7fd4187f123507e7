"""Evaluation arithmetic against enumeration and worked numbers."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grpo.rl.evaluate import interval, pass_at, pass_at_every, shown, summarize
from grpo.tracking.metrics import eval_tags
from grpo.tracking.screen import eval_line
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@example([1e-200, 0.0])
@example([1.1e-131] * 3)  # nearly equal shares: a huge effective number of problems must not overflow
def test_interval_holds_the_mean_and_stays_in_bounds(shares: list[float]) -> None:
    low, high = interval(shares)
    assert 0 <= low <= sum(shares) / len(shares) + 1e-9
    assert sum(shares) / len(shares) - 1e-9 <= high <= 1
    assert low < high


def test_interval_of_bernoulli_problems_is_wilsons() -> None:
    # Wilson, n = 100, p = 0.5, z = 1.96: 0.4038 … 0.5962 (the spread between problems uses n - 1, hence the tolerance)
    low, high = interval([1.0] * 50 + [0.0] * 50)
    assert (low, high) == (pytest.approx(0.4038, abs=1e-3), pytest.approx(0.5962, abs=1e-3))


def test_interval_narrows_when_problems_agree() -> None:
    wide, narrow = interval([1.0, 0.0] * 50), interval([0.5] * 100)
    assert narrow[1] - narrow[0] <= wide[1] - wide[0]


@given(st.integers(1, 8).flatmap(lambda n: st.lists(st.booleans(), min_size=n, max_size=n)))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(right: list[bool]) -> None:
    """Brute force: every choice of k of the samples."""
    for k in range(1, len(right) + 1):
        subsets = list(combinations(right, k))
        assert pass_at(len(right), sum(right), k) == sum(map(any, subsets)) / len(subsets)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_exact_to_the_last_bit_for_many_samples(case: tuple[int, int, int]) -> None:
    n, c, k = case
    exact = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
    assert pass_at(n, c, k) == float(exact)


@given(st.integers(1, 64), st.data())
def test_pass_at_k_grows_with_k_from_the_share_to_any(n: int, data: st.DataObject) -> None:
    correct = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=5))
    found = pass_at_every([(n, c) for c in correct])
    values = list(found.values())
    assert list(found) == [str(k) for k in range(1, n + 1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(sum(correct) / n / len(correct))
    assert values[-1] == sum(c > 0 for c in correct) / len(correct)
    ks = [int(k) for k in shown(found)]
    assert ks == [k for k in range(1, n + 1) if k in (1, 2, 4, 8, 16, 32, 64) or k == n]


@pytest.mark.parametrize("case", [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_pass_at_k_of_impossible_counts_is_refused(case: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not defined"):
        pass_at(*case)


def group(prompt_id: str, rows: list[tuple[str, float | None]], **columns: object) -> ScoredGroup:
    samples = tuple(
        Sample(prompt_id, i, np.arange(4 + i, dtype=np.int32), np.zeros(4 + i, np.float32),
               f"<think>x</think><answer>{text}</answer>", "stop", i, 0, 0)
        for i, (text, _) in enumerate(rows)
    )  # fmt: skip
    scores = tuple(
        Score(total=right, components={"accuracy": right}, verdict="ok" if right is not None else "timeout")
        for _, right in rows
    )
    return ScoredGroup(SampleGroup(Prompt(prompt_id, "q", (1,), "a", columns=columns), samples), scores)


def test_summary_of_two_problems_by_hand() -> None:
    groups = [
        group("p", [("1", 1.0), ("2", 0.0), ("1", 1.0), ("3", 0.0)], k=2),
        group("q", [("5", 1.0), ("6", 0.0), ("6", 0.0), ("7", None)], k=3),
    ]
    result = summarize(7, groups, "accuracy")
    assert result.pass1 == pytest.approx((0.5 + 0.25) / 2)
    assert result.passk == 1.0
    assert result.pass_at == {
        "1": pytest.approx(result.pass1),
        "2": pytest.approx((5 / 6 + 1 / 2) / 2),
        "3": pytest.approx((1 + 3 / 4) / 2),
        "4": 1.0,
    }
    assert result.figures()["pass_at"] == {k: result.pass_at[k] for k in ("1", "2", "4")}
    assert result.row()["pass_at"] == result.pass_at
    assert result.consk == 0.5
    assert result.votes_undecided == 0
    assert result.abstained == 1
    assert result.length == pytest.approx(5.5)
    assert result.by_group == {"k=2": 0.5, "k=3": 0.25}
    assert (result.n_problems, result.k, result.step) == (2, 4, 7)


def test_problems_with_ratings_rate_the_policy_and_others_do_not_count() -> None:
    rows: list[tuple[str, float | None]] = [("1", 1.0), ("2", 0.0), ("1", 1.0), ("3", None)]
    groups = [group("p", rows, rating=1500), group("q", rows, rating="1500"), group("r", rows, rating="easy")]
    result = summarize(0, groups, "accuracy")
    assert result.rating is not None
    assert (result.rating.value, result.rating.problems) == (pytest.approx(1500), 2)
    assert result.row()["rating"]["solved"] == 0.5  # type: ignore[index]
    assert "rating 1500 [1500, 1500]" in eval_line(result.figures())
    assert eval_tags(result.row())["eval/rating"] == pytest.approx(1500)
    plain = summarize(0, [group("p", rows)], "accuracy")
    assert "rating" not in plain.row() | eval_tags(plain.row())
    best = summarize(0, [group("p", [("1", 1.0)], rating=1500)], "accuracy")
    assert "rating above all problems" in eval_line(best.figures())
    assert "eval/rating" not in eval_tags(best.row())


def test_equal_values_are_one_vote_however_they_are_written() -> None:
    """By text, 3 would win 2 : 1 : 1 : 1."""
    rows = [("3", 0.0), ("1/2", 1.0), ("0.5", 1.0), ("3", 0.0), (r"\frac{1}{2}", 1.0)]
    result = summarize(0, [group("p", rows)], "accuracy")
    assert (result.consk, result.votes_undecided) == (1.0, 0)


def test_an_empty_answer_is_no_vote() -> None:
    result = summarize(0, [group("p", [("", 0.0), (" ", 0.0), ("5", 1.0)])], "accuracy")
    assert result.consk == 1.0
    assert summarize(0, [group("p", [("", 1.0), (" ", 1.0)])], "accuracy").consk == 0.0


def test_pairs_that_were_not_compared_are_reported() -> None:
    rows = [("3", 0.0), ("1/2", 1.0), ("0.5", 1.0), ("3", 0.0)]
    result = summarize(0, [group("p", rows)], "accuracy", equal=lambda pairs: [None] * len(pairs))
    assert (result.consk, result.votes_undecided) == (0.0, 3)


def test_prompts_without_a_right_answer_count_in_their_components_alone() -> None:
    solved = group("a", [("1", 1.0), ("2", 0.0)])
    asked = group("b", [("x", 1.0), ("y", 1.0)])
    scores = tuple(Score(1.0, {"safe": value}) for value in (1.0, 0.0))
    result = summarize(0, [solved, ScoredGroup(asked.group, scores)], "accuracy")
    assert (result.pass1, result.passk, result.n_problems, result.abstained) == (0.5, 1.0, 1, 0)
    assert result.components["safe"] == 0.5
    assert result.length == sum(len(s.token_ids) for s in solved.group.samples) / 2
    assert result.by_kind == {}
    with pytest.raises(ValueError, match="that 'accuracy' applies to"):
        summarize(0, [ScoredGroup(asked.group, scores)], "accuracy")


def test_means_by_kind_hold_every_component_and_the_length() -> None:
    solved = group("a", [("1", 1.0), ("2", 0.0)], kind="math")
    asked = group("b", [("x", 1.0), ("y", 1.0), ("z", 1.0)], kind="general")
    scores = tuple(Score(None, {"judge": value}) for value in (1.0, 0.25, None))
    result = summarize(0, [solved, ScoredGroup(asked.group, scores)], "accuracy")
    assert result.by_kind == {
        "general": {"judge": 0.625, "length": 5.0, "truncated": 0.0},
        "math": {"accuracy": 0.5, "length": 4.5, "truncated": 0.0},
    }


def test_no_problems_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        summarize(0, [], "accuracy")
