import pytest

from data_recipes.errors import DataError
from data_recipes.prompts.reasoning_gym import gym_rows, is_held_out

EASY = {"min_terms": 2, "max_terms": 3, "max_digits": 2}


def rows(split: str, seed: int = 0, **params: object) -> list[dict[str, object]]:
    return [row for _, row in gym_rows("chain_sum", split, seed, {**EASY, **params})]


def test_rows_are_right_different_and_repeatable() -> None:
    train = rows("train", count=200)
    assert train == rows("train", count=200)
    assert train != rows("train", seed=1, count=200)
    assert len({r["question"] for r in train}) == 200
    for row in train:
        assert str(eval(str(row["expression"]))) == row["answer"]


def test_splits_share_no_question_whatever_the_seed_and_difficulty() -> None:
    held_out = {r["question"] for r in rows("held-out", count=60)}
    assert len(held_out) == 60
    for seed in range(3):
        assert not held_out & {r["question"] for r in rows("train", seed=seed, count=800)}
        assert not held_out & {r["question"] for r in rows("train", seed=seed, count=300, max_terms=2)}
    assert all(is_held_out(str(q)) for q in held_out)


@pytest.mark.parametrize(
    ("task", "params", "message"),
    [
        ("chain_sun", {}, "no such task; there are .*chain_sum"),
        ("chain_sum", {"max_termz": 3}, r"unknown params\.max_termz; chain_sum takes count, .*max_terms"),
        ("chain_sum", {"min_terms": 30}, "refused: max_terms must be >= min_terms"),
        ("chain_sum", {"count": 0}, r"params\.count = 0"),
        (
            "chain_sum",
            {"count": 1000, "max_terms": 2, "max_digits": 1},
            "different train questions, .*lower it",
        ),
    ],
)
def test_faults_name_the_key(task: str, params: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(gym_rows(task, "train", 0, params))
