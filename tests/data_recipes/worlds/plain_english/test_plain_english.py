"""Word problems have the right answers, splits share no question, and the judge counts what was asked for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from data_recipes.procedural import PROCEDURAL
from data_recipes.worlds.plain_english.judge import content, judge, quality
from rewards.rows import RewardRow


def rows(split: str = "train", seed: int = 0, **params: int) -> list[dict[str, Any]]:
    return [row for _, row in PROCEDURAL["plain-english"].rows(seed, split, params)]


def worked(question: str) -> int:
    """The answer, read from the text."""
    signs = {"has": 1, "buys": 1, "away": -1}
    return sum(signs[verb] * int(number) for verb, number in re.findall(r"(has|buys|away) (\d+)", question))


def asked(row: dict[str, Any]) -> str:
    """The numbers, verbs and things of a problem, or the things and their count of a request."""
    words = re.findall(r"\d+|buys|away|(?<=How many )\w+", row["question"])
    return str(row["answer"]) if row["kind"] == "general" else " ".join(words)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_answers_are_what_the_text_says(steps: int) -> None:
    for row in rows(math=300, max_steps=steps, largest=50):
        assert int(row["answer"]) == worked(row["question"]) > 0
        assert (row["kind"], row["language"]) == ("math", "en")


def test_the_splits_ask_nothing_alike_whatever_the_seed() -> None:
    """A name, a pronoun or another wording of a request does not make another question."""
    train = [
        row for seed in range(3) for row in rows(seed=seed, math=500, max_steps=1, largest=9, general=90)
    ]
    held_out = rows("held-out", math=150, max_steps=1, largest=9, general=8)
    assert not {asked(row) for row in train} & {asked(row) for row in held_out}
    assert len({row["question"] for row in held_out}) == 158
    assert rows(math=20) == rows(math=20) != rows(math=20, seed=1)


def test_more_than_there_are_is_refused_by_key() -> None:
    with pytest.raises(ValueError, match=r"params.general = 500, but there are \d+ such train questions"):
        rows(general=500)


def said(text: str, answer: str = "3 fruits", kind: str = "general") -> RewardRow:
    return RewardRow(completion=text, answer=answer, columns={"kind": kind, "answer": answer})


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("Apple, banana and cherries.", 2 / 3),
        ("Apples, bananas and pears.", 1.0),
        ("apple banana pear grape lemon plum", 0.5),
        ("I like apples. Apples are good, apples.", 1 / 3),
        ("dog, cat, horse", 0.0),
        ("<think>apple banana pear</think> Sure.", 0.0),
    ],
)
def test_the_share_of_what_was_asked_for(text: str, share: float) -> None:
    assert content(said(text)) == pytest.approx(share)


def test_a_reply_that_goes_on_is_worth_less_and_no_other_row_is_judged() -> None:
    short = "Apples, bananas and pears."
    long = short + " They are tasty." * 40
    assert quality(said(short)) == 1.0
    assert quality(said(long)) == pytest.approx(0.5)
    assert judge("", short, long, 0, said("").columns) == pytest.approx(2.0)
    assert judge("", long, short, 0, said("").columns) == pytest.approx(-2.0)
    assert judge("", short, short, 0, said("").columns) == 0.0
    assert content(said(short, kind="math")) is None
