"""Preference pairs: order swap, margin, length balance; judges with planted faults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.sft.preferences import (
    Completion,
    Preference,
    balance_lengths,
    draw_pairs,
    judge_pair,
    to_preference,
)


def completion(text: str, prompt: str = "p") -> Completion:
    return Completion(prompt, prompt, text, None, {})


def longer(prompt: str, first: str, second: str, seed: int, columns: Mapping[str, Any]) -> float:
    return float(len(first) - len(second))


def first_wins(prompt: str, first: str, second: str, seed: int, columns: Mapping[str, Any]) -> float:
    return 2.0


def test_a_judge_that_favours_a_place_is_found_out() -> None:
    a, b = completion("a"), completion("b")
    assert judge_pair(first_wins, a, b, votes=4, swap=True, seed=0) is None
    assert judge_pair(first_wins, a, b, votes=3, swap=False, seed=0) == (2.0, 2.0, 2.0)


def test_votes_are_seen_from_the_first_in_both_orders_with_seeds_of_their_own() -> None:
    seeds: list[int] = []

    def judge(prompt: str, first: str, second: str, seed: int, columns: Mapping[str, Any]) -> float:
        seeds.append(seed)
        return longer(prompt, first, second, seed, columns)

    assert judge_pair(judge, completion("aaa"), completion("b"), 4, True, 0) == (2.0, 2.0, 2.0, 2.0)
    assert len(set(seeds)) == 4
    again = list(seeds)
    seeds.clear()
    judge_pair(judge, completion("aaa"), completion("b"), 4, True, 0)
    assert seeds == again


def test_a_judge_without_a_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="nan"):
        judge_pair(lambda *_: float("nan"), completion("a"), completion("b"), 2, True, 0)


@given(st.lists(st.integers(-2, 2), min_size=1, max_size=8), st.sampled_from([0.0, 1.0]))
def test_the_winner_stands_in_front_above_the_margin(votes: list[int], margin: float) -> None:
    mean = sum(votes) / len(votes)
    found = to_preference(completion("a"), completion("b"), votes, margin)
    if abs(mean) <= margin:
        assert found is None
    else:
        assert found is not None
        assert (found.chosen, found.rejected) == (("a", "b") if mean > 0 else ("b", "a"))
        assert found.margin == pytest.approx(abs(mean))
        assert sum(found.votes) > 0


def test_drawn_pairs_differ_and_depend_on_the_prompt_alone() -> None:
    some = [completion(t, p) for p in ("p", "q", "r") for t in ("a", "b", "c", "a")]
    drawn = draw_pairs(some, 2, seed=1)
    assert len(drawn) == 6
    assert all(x.text != y.text and x.prompt == y.prompt for x, y in drawn)
    assert draw_pairs(some[4:8], 2, seed=1) == drawn[2:4]
    assert draw_pairs(some[::-1], 2, seed=1)[-2:] == drawn[:2]


def test_neither_place_is_favoured() -> None:
    many = [completion(t, str(p)) for p in range(400) for t in ("a", "b")]
    share = sum(x.text == "a" for x, _ in draw_pairs(many, 1, seed=0)) / 400
    assert 0.4 < share < 0.6


LENGTHS = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=30)


@given(LENGTHS, st.sampled_from([1.0, 1.1, 1.5]))
def test_lengths_are_balanced_with_nothing_left_out_in_vain(
    lengths: list[tuple[int, int]], ratio: float
) -> None:
    pairs = [Preference("p", "c" * c, "r" * r, 1.0, (1.0,), None) for c, r in lengths]
    kept = balance_lengths(pairs, ratio)
    assert [p for p in pairs if any(p is k for k in kept)] == kept
    before = sum(c for c, _ in lengths), sum(r for _, r in lengths)
    if max(before) <= ratio * min(before):
        assert len(kept) == len(pairs)
    if kept:
        after = sum(len(p.chosen) for p in kept), sum(len(p.rejected) for p in kept)
        assert max(after) <= ratio * min(after), "neither side is the longer one"


def test_a_pair_that_would_tip_the_scale_is_left_in() -> None:
    def pairs(*lengths: tuple[int, int]) -> list[Preference]:
        return [Preference("p", "c" * c, "r" * r, 1.0, (1.0,), None) for c, r in lengths]

    # Without the first the rejected ones would be 1.5 times as long; without the second all is well.
    some = pairs((100, 20), (30, 10), (10, 80), (10, 40))
    kept = balance_lengths(some, 1.1)
    assert [len(p.chosen) for p in kept] == [100, 30, 10, 10]
    some = pairs((100, 20), (40, 10), (10, 80), (10, 30))
    assert [len(p.chosen) for p in balance_lengths(some, 1.0)] == []
    assert [len(p.chosen) for p in balance_lengths(some, 1.1)] == [100, 10, 10]
