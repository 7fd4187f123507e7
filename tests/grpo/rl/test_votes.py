"""Majority voting against a plain count, with equalities that are known; then with the project's mathematics."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.rl.votes import Pair, ValueEquality, elect, spelling

ANSWERS = st.sampled_from([None, "", " ", "7", "+7", " 7 ", "8", "a1", "a2", "a3", "b1", "b2", "c1"])
"""Of these, 7 and +7 are one integer, and letters say which texts have one value."""


class ByLetter:
    """An equality of texts that is one: the first letter decides. Keeps what it was asked."""

    def __init__(self, knows: bool = True) -> None:
        self.knows = knows
        self.calls: list[list[Pair]] = []

    def __call__(self, pairs: Sequence[Pair]) -> list[bool | None]:
        self.calls.append(list(pairs))
        return [(a[0] == b[0]) if self.knows else None for a, b in pairs]


def value(answer: str) -> str:
    key = answer.strip().removeprefix("+")
    return key if key.isdigit() else key[0]


def plain_count(answers: Sequence[str | None]) -> tuple[str, int] | None:
    """Value and votes of the winner: most votes, then the first vote."""
    votes: dict[str, list[int]] = {}
    for index, answer in enumerate(answers):
        if answer is not None and answer.strip():
            votes.setdefault(value(answer), []).append(index)
    if not votes:
        return None
    winner = max(votes, key=lambda name: (len(votes[name]), -votes[name][0]))
    return winner, len(votes[winner])


@given(st.lists(st.lists(ANSWERS, max_size=12), max_size=5))
def test_the_winner_is_that_of_a_plain_count(ballots: list[list[str | None]]) -> None:
    equal = ByLetter()
    election = elect(ballots, equal)
    assert election.undecided == 0
    for answers, winner in zip(ballots, election.winners, strict=True):
        expected = plain_count(answers)
        if expected is None:
            assert winner is None
            continue
        assert winner is not None
        answer = answers[winner]
        assert answer is not None
        assert value(answer) == expected[0]
        # Its most frequent spelling stands for the class, by the first sample that gave it.
        spelled = [spelling(a) for a in answers if a is not None and a.strip() and value(a) == expected[0]]
        assert spelled.count(spelling(answer)) == max(map(spelled.count, spelled))
        assert [a is not None and spelling(a) == spelling(answer) for a in answers].index(True) == winner


@given(st.lists(st.lists(ANSWERS, max_size=12), max_size=5))
def test_only_open_questions_are_asked_and_none_twice(ballots: list[list[str | None]]) -> None:
    equal = ByLetter()
    elect(ballots, equal)
    for call in equal.calls:
        assert call
        assert all(not (a.isdigit() and b.isdigit()) for a, b in call), "integers need no mathematics"
    for answers in ballots:
        alone = ByLetter()
        elect([answers], alone)
        asked = [frozenset(pair) for call in alone.calls for pair in call]
        assert len(asked) == len(set(asked))


def test_a_clear_majority_of_one_spelling_asks_nothing() -> None:
    equal = ByLetter()
    assert elect([["a1", "a1", "a1", "b1", "c1"]], equal).winners == [0]
    assert equal.calls == []


def test_what_is_not_found_out_is_a_vote_of_its_own_and_counted() -> None:
    election = elect([["b1", "a1", "a2", "b1"], ["7", "8"]], ByLetter(knows=False))
    assert election.winners == [0, 0]
    assert election.undecided == 3  # b1 against a1 and a2, a1 against a2


def test_ties_go_to_the_value_that_was_given_first() -> None:
    """b has two votes and so have a1 and a2 together, the first of which came first."""
    assert elect([["a1", "b1", "b1", "a2"]], ByLetter()).winners == [0]
    assert elect([["b1", "a1", "a1", "b2"]], ByLetter()).winners == [0]
    assert elect([["7", "8"]], ByLetter()).winners == [0]


def test_long_answers_are_compared_as_text_alone() -> None:
    equal = ByLetter()
    long = "a" * 2001
    assert elect([["b1", long, "a1", long + "x"]], equal).winners == [0]
    assert [max(map(len, pair)) <= 2000 for call in equal.calls for pair in call] == [True]


EQUAL = [
    ("1/2", "0.5"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{2}{4}", "1/2"),
    (r"2\sqrt{2}", r"\sqrt{8}"),
    ("1,234", "1234"),
    ("x+1", "1+x"),
    ("(1, 2)", r"\left(1,2\right)"),
    ("50%", "0.5"),
]
DIFFERENT = [("1/2", "2"), ("(1, 2)", "(2, 1)"), ("x+1", "x-1"), ("yes", "no"), ("0.5", "0.51"), ("A", "B")]


def test_values_are_compared_by_the_rewards_mathematics_in_either_order() -> None:
    with ValueEquality() as equal:
        found = dict(zip([*EQUAL, *DIFFERENT], equal([*EQUAL, *DIFFERENT]), strict=True))
        swapped = equal([(b, a) for a, b in [*EQUAL, *DIFFERENT]])
    assert [pair for pair in EQUAL if found[pair] is not True] == []
    assert [pair for pair in DIFFERENT if found[pair] is not False] == []
    assert swapped == list(found.values())


def test_a_budget_that_is_spent_compares_nothing_more_and_starts_no_process() -> None:
    times = iter([0.0, 100.0, 100.0])
    with ValueEquality(budget_s=60.0, now=lambda: next(times)) as equal:
        assert equal([("1/2", "0.5")]) == [None]
        assert equal._pool is None


def test_a_comparison_that_hangs_costs_its_pair_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from grpo.rl import votes

    monkeypatch.setattr(votes, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(votes, "COMPARISON", "tests.grpo.rl.hanging_votes:hangs_on_x")
    with ValueEquality() as equal:
        assert equal([("1", "1"), ("x", "1"), ("2", "1"), ("1", "x")]) == [True, None, False, None]
