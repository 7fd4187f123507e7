import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.worlds.chain.problems import (
    ChainProblem,
    apply,
    distinct_problems,
    is_reserved,
    question,
    random_problem,
    split_of,
    steps,
)

PROBLEMS = st.integers(2, 7).flatmap(
    lambda k: st.builds(
        ChainProblem,
        st.tuples(*[st.integers(0, 9)] * (k + 1)),
        st.text("+-*", min_size=k, max_size=k),
    )
)


def test_worked_example_by_hand() -> None:
    problem = ChainProblem((7, 4, 3, 2), "*+-")
    assert problem.text == "7 * 4 + 3 - 2"
    assert question(problem) == "compute modulo 10 from left to right: 7 * 4 + 3 - 2"
    assert steps(problem) == "7 * 4 = 8 + 3 = 1 - 2 = 9"
    assert steps(problem, 1) == "7 * 4 = 8"
    assert steps(problem, 0) == "7"
    assert problem.answer == 9


def test_a_negative_difference_wraps_round() -> None:
    assert apply(3, "-", 5) == 8


def left_to_right(expression: str) -> int:
    """Oracle: parentheses make Python work from left to right, and the modulus comes once, at the end."""
    first, *rest = expression.split(" ")
    for operator, operand in zip(rest[::2], rest[1::2], strict=True):
        first = f"({first} {operator} {operand})"
    return eval(first) % 10


@given(PROBLEMS)
def test_answer_is_the_left_to_right_value_modulo_ten(problem: ChainProblem) -> None:
    assert problem.answer == left_to_right(problem.text)


@given(PROBLEMS)
def test_each_step_is_true_and_goes_on_from_the_last_result(problem: ChainProblem) -> None:
    left, *rest = steps(problem).split(" ")
    assert left == str(problem.operands[0])
    lines = [rest[i : i + 4] for i in range(0, len(rest), 4)]
    assert " ".join(f"{operator} {right}" for operator, right, _, _ in lines) == problem.text[2:]
    for operator, right, equals, value in lines:
        assert equals == "="
        assert int(value) == apply(int(left), operator, int(right))
        left = value
    assert left == str(problem.answer)


def windows(text: str) -> list[str]:
    parts = text.split(" ")
    return [" ".join(parts[i : i + 5]) for i in range(0, len(parts) - 4, 2)]


def reserved(window: str) -> bool:
    a, first, b, second, c = window.split(" ")
    return is_reserved(int(a), first, int(b), second, int(c))


@given(PROBLEMS)
def test_train_problems_hold_no_reserved_window_and_held_out_ones_begin_with_one(
    problem: ChainProblem,
) -> None:
    split = split_of(problem)
    assert (split == "held-out") == reserved(windows(problem.text)[0])
    assert (split == "train") == (not any(reserved(w) for w in windows(problem.text)))


def test_no_held_out_question_stands_inside_any_train_question() -> None:
    rng = random.Random(5)
    train = [random_problem(rng, k, "train").text for k in (2, 3, 4, 5, 6, 7) for _ in range(400)]
    seen = {window for text in train for window in windows(text)}
    held_out = [p.text for p in distinct_problems(1, "held-out", range(2, 5), 768)]
    assert not [text for text in held_out if windows(text)[0] in seen]


def test_distinct_problems_are_distinct_balanced_and_repeatable() -> None:
    problems = list(distinct_problems(3, "held-out", range(2, 5), 257))
    assert len({p.text for p in problems}) == 257
    counts = Counter(p.k for p in problems)
    assert set(counts) == {2, 3, 4}
    assert max(counts.values()) - min(counts.values()) <= 1
    assert problems == list(distinct_problems(3, "held-out", range(2, 5), 257))
    assert problems != list(distinct_problems(4, "held-out", range(2, 5), 257))


def test_asking_for_more_short_problems_than_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k = 2 asked for, split 'held-out' has \d+"):
        list(distinct_problems(0, "held-out", range(2, 3), 2000))


def test_all_short_problems_of_a_split_can_be_drawn() -> None:
    with pytest.raises(ValueError, match="has") as error:
        list(distinct_problems(0, "held-out", range(2, 3), 2000))
    available = int(str(error.value).rpartition(" ")[2])
    assert len(list(distinct_problems(0, "held-out", range(2, 3), available))) == available
