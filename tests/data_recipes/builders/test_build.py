"""The rows of a build depend on the rows that are read and on nothing else; every row read is accounted for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_recipes.builders.build import BuiltFile, Rules, build, check_formats
from data_recipes.builders.config import SourceConfig
from data_recipes.builders.formats.built import Built
from data_recipes.builders.registry import BUILDERS
from data_recipes.builders.verify import AnswerCheck
from data_recipes.errors import DataError
from data_recipes.sft.decontaminate import evaluation_grams
from tests.data_recipes.builders.public_rows import ROWS

COLOURS = ("red", "green", "blue", "black", "white", "pink", "grey", "brown")


def numbered(n: int, answer: int | None = None) -> dict[str, Any]:
    colour, animal = COLOURS[n % 8], ("cats", "dogs", "owls")[n // 8 % 3]
    return {
        "question": f"A {colour} box holds {n} {animal}; how many?",
        "answer": n if answer is None else answer,
    }


def written(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def source(path: Path, rows: Sequence[dict[str, Any]], **keys: Any) -> SourceConfig:
    return SourceConfig(**{"format": "questions", "source": written(path, rows), "licence": "MIT", **keys})


def reasoning(sources: Sequence[SourceConfig], rules: Rules | None = None, **keys: Any) -> BuiltFile:
    return build(BUILDERS["r1-reasoning"], sources, rules or Rules(held_out=0), **keys)


def attempt(one: SourceConfig, rules: Rules) -> BuiltFile | None:
    try:
        return reasoning([one], rules)
    except DataError:
        return None


def check_accounts(built: BuiltFile) -> None:
    """Every row read is bad, kept, held out, or left out by one rule."""
    for count in built.sources:
        assert count.read == count.bad + count.kept + count.held_out + sum(count.dropped.values())
    over = sum(count.dropped["over_limit"] for count in built.sources)
    assert len(built.dropped) == sum(sum(c.dropped.values()) for c in built.sources) - over
    assert len(built.train) == sum(count.kept for count in built.sources)
    assert len(built.held_out) == sum(count.held_out for count in built.sources)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(0, 30), min_size=1, max_size=40),
    order=st.randoms(use_true_random=False),
    most=st.integers(1, 20),
    limit=st.none() | st.integers(1, 12),
    share=st.sampled_from([0.0, 0.3]),
)
def test_the_order_of_the_rows_changes_nothing(
    tmp_path: Path, numbers: list[int], order: Any, most: int, limit: int | None, share: float
) -> None:
    rows = [numbered(n) for n in numbers]
    shuffled = list(rows)
    order.shuffle(shuffled)
    rules = Rules(most={"math": most}, held_out=share)
    first = attempt(source(tmp_path / "a.jsonl", rows, limit=limit), rules)
    second = attempt(source(tmp_path / "a.jsonl", shuffled, limit=limit), rules)
    if first is None or second is None:  # all that is kept is held out
        assert share
        assert first is second
        return
    assert (first.train, first.held_out) == (second.train, second.held_out)
    check_accounts(first)
    kept = [row["question"] for row in (*first.train, *first.held_out)]
    assert len(kept) == len(set(kept)) == min(len(set(numbers)), most, limit or most)
    assert len({row["id"] for row in first.train}) == len(first.train)


def test_a_question_is_on_one_side_of_the_split_in_every_build(tmp_path: Path) -> None:
    rows = [numbered(n) for n in range(200)]
    sides: dict[str, set[str]] = {}
    sizes = []
    for seed, part in ((0, rows), (1, rows[:150]), (2, rows[50:])):
        built = reasoning([source(tmp_path / f"{seed}.jsonl", part)], Rules(held_out=0.25, seed=seed))
        sizes.append(len(built.held_out) / len(part))
        for side, found in (("train", built.train), ("held out", built.held_out)):
            for row in found:
                sides.setdefault(row["question"], set()).add(side)
    assert all(len(found) == 1 for found in sides.values())
    assert all(0.15 < size < 0.35 for size in sizes)


def test_the_same_question_in_another_layout_is_one_question(tmp_path: Path) -> None:
    again = numbered(3) | {"question": "A  BLACK box holds 3 cats;\nhow many?"}
    built = reasoning(
        [source(tmp_path / "a.jsonl", [numbered(3), numbered(4)]), source(tmp_path / "b.jsonl", [again])]
    )
    assert len(built.train) == 2
    assert [count.dropped["duplicate"] for count in built.sources] == [0, 1]
    check_accounts(built)


def test_a_question_with_two_answers_is_left_out_whole(tmp_path: Path) -> None:
    rows = [numbered(3), numbered(4), numbered(3, answer=5)]
    built = reasoning([source(tmp_path / "a.jsonl", rows)])
    assert [row["answer"] for row in built.train] == ["4"]
    assert built.sources[0].dropped == {"conflict": 2}
    assert [entry["where"].rpartition(" ")[2] for entry in built.dropped] == ["1", "3"]


def test_a_solution_that_an_evaluation_set_has_leaves_the_row_out(tmp_path: Path) -> None:
    copied = "First add the three smaller numbers and then divide by the largest one of them."
    rows = [numbered(1) | {"solution": f"Well. {copied}"}, numbered(2) | {"solution": "Count them."}]
    grams = evaluation_grams([copied])
    built = reasoning([source(tmp_path / "a.jsonl", rows)], sets=[("MATH-500", grams)])
    assert [row["answer"] for row in built.train] == ["2"]
    assert "solution" not in built.train[0]
    (entry,) = built.dropped
    assert entry["reason"] == "contaminated"
    assert entry["evaluation"] == "MATH-500"
    assert entry["words"] == "first add the three smaller numbers and then divide by"


def test_rules_of_the_builder_leave_rows_out(tmp_path: Path) -> None:
    mmlu, aime, arc = (dict(ROWS[name][0]) for name in ("mmlu", "aime", "arc"))
    arc["choices"] = {"text": ["coal", "wind", "oil"], "label": ["A", "B", "C"]}
    arc["answerKey"] = "B"
    sources = [
        source(tmp_path / "m.jsonl", [mmlu], format="mmlu"),
        source(tmp_path / "r.jsonl", [arc], format="arc"),
        source(tmp_path / "a.jsonl", [aime, aime | {"Year": 2023, "Question": "Find all."}], format="aime"),
        source(tmp_path / "q.jsonl", [{"question": "Сколько будет два плюс два?", "answer": 4}]),
    ]
    built = reasoning(sources, Rules(held_out=0, before_year=2023))
    assert [dict(count.dropped) for count in built.sources] == [
        {}, {"options": 1}, {"too_late": 1}, {"other_language": 1},
    ]  # fmt: skip
    check_accounts(built)


def test_bad_rows_are_all_named_or_counted(tmp_path: Path) -> None:
    rows = [numbered(1), {"question": "No answer?"}, numbered(2), {"question": "", "answer": 1}]
    file = source(tmp_path / "a.jsonl", rows)
    with (tmp_path / "a.jsonl").open("a") as out:
        out.write('{"question": "cut\n')
    with pytest.raises(DataError) as error:
        reasoning([file])
    for part in ("line 2: no field 'answer'", "line 4: question = ''", "line 5: not JSON", "3 bad rows"):
        assert part in str(error.value)
    built = reasoning([file], Rules(held_out=0, bad_rows="skip"))
    assert (built.sources[0].read, built.sources[0].bad, len(built.train)) == (5, 3, 2)
    check_accounts(built)


def test_references_that_their_reward_does_not_accept_are_left_out(tmp_path: Path) -> None:
    rows = [
        numbered(1),
        {"question": "Give the set.", "answer": "\\{1, 2\\}"},
        {"question": "Explain why.", "answer": "because } of"},
    ]
    stem = source(tmp_path / "m.jsonl", [ROWS["mmlu"][0]], format="mmlu")
    logic = source(tmp_path / "l.jsonl", [ROWS["cluewsc"][0]], format="cluewsc")
    with AnswerCheck() as verify:
        built = reasoning([source(tmp_path / "a.jsonl", rows), stem, logic], verify=verify)
    assert {row["answer"] for row in built.train} == {"1", "\\{1, 2\\}", "C", "错"}
    assert built.sources[0].dropped == {"unverifiable": 1}
    check_accounts(built)


def test_rows_are_verified_until_the_limit_is_reached_and_no_further(tmp_path: Path) -> None:
    rows = [numbered(n) for n in range(900)]
    asked: list[Built] = []

    def verify(chunk: Sequence[Built]) -> list[bool]:
        asked.extend(chunk)
        return [int(row.answer or 0) % 2 == 0 for row in chunk]

    built = reasoning(
        [source(tmp_path / "a.jsonl", rows)], Rules(most={"math": 50}, held_out=0), verify=verify
    )
    assert len(built.train) == 50
    assert all(int(row["answer"]) % 2 == 0 for row in built.train)
    assert len(asked) == 256
    check_accounts(built)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_every_builder_writes_its_columns_from_the_formats_that_it_takes(tmp_path: Path, name: str) -> None:
    from data_recipes.builders.formats.registry import FORMATS

    builder = BUILDERS[name]
    fitting = [
        f
        for f, form in FORMATS.items()
        if form.has_reply == builder.has_reply and form.kinds[0] in builder.kinds
    ]
    sources = [source(tmp_path / f"{f}.jsonl", [ROWS[f][0]], format=f, licence=f"of {f}") for f in fitting]
    assert not list(check_formats(builder, sources))
    built = build(builder, sources, Rules(held_out=0))
    assert {row["licence"] for row in built.train} == {f"of {f}" for f in fitting}
    (columns,) = {tuple(row) for row in built.train}
    assert columns[0] == "id"
    assert columns[-4:] == ("kind", "language", "source", "licence")
    defaults = [SourceConfig(**dict(s)) for s in builder.sources]
    assert not list(check_formats(builder, defaults))


def test_a_format_of_another_builder_is_refused_with_those_that_fit() -> None:
    sources = [
        SourceConfig(format="alpaca", source="a/b", licence="x"),
        SourceConfig(format="gsmk8", source="a/b", licence="x"),
        SourceConfig(format="gsm8k", source="a/b", licence="x", kind="stem"),
    ]
    first, second, third = check_formats(BUILDERS["r1-reasoning"], sources)
    assert "sources.0.format = 'alpaca' has no rows for r1-reasoning; take one of math, gsm8k" in first
    assert "sources.1.format = 'gsmk8' is not known" in second
    assert "sources.2.kind = 'stem': rows of 'gsm8k' are math" in third
