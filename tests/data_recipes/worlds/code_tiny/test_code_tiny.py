"""The small programs: what the tests expect, what the programs do, which splits and texts there are."""

import random
from itertools import product
from pathlib import Path

import pytest

from data_recipes.procedural import CodeTinyParams
from data_recipes.worlds.code_tiny.corpus import STYLES, documents, fenced
from data_recipes.worlds.code_tiny.problems import (
    RETURNS,
    STEPS,
    ListProblem,
    is_whole,
    make_tests,
    program,
    question,
    random_problem,
    rows,
    solve,
)
from data_recipes.worlds.code_tiny.tokenizer import build_tokenizer
from policies.tokenizer import load_tokenizer
from rewards.code.program import program_of


def ran(text: str, numbers: list[int]) -> object:
    """What a program of ours returns."""
    space: dict[str, object] = {}
    exec(text, space)
    function = space["f"]
    assert callable(function)
    return function(list(numbers))


@pytest.mark.parametrize(("step", "returns"), product(STEPS, RETURNS))
def test_the_program_does_what_the_tests_expect(step: str, returns: str) -> None:
    rng = random.Random(step)
    for other in STEPS:
        problem = ListProblem((step, other), returns)
        for n in (0, 1, 2, 7):
            numbers = [rng.randint(-9, 9) for _ in range(n)]
            assert ran(program(problem), numbers) == solve(problem, list(numbers))


def test_tests_show_a_missing_step_where_it_can_show() -> None:
    rng = random.Random(0)
    problem = ListProblem(("square", "drop_first", "add_one"), "list")
    tests = make_tests(problem, rng)
    assert [len(t["args"][0]) for t in tests] == [0, 1, 5, 8]
    for n in range(3):
        shorter = ListProblem(problem.steps[:n] + problem.steps[n + 1 :], "list")
        assert any(solve(shorter, t["args"][0]) != t["expected"] for t in tests)


def test_a_problem_in_which_a_step_does_not_matter_is_none() -> None:
    assert not is_whole(ListProblem(("sort",), "sum"))
    assert not is_whole(ListProblem(("reverse", "reverse"), "list"))
    assert is_whole(ListProblem(("double", "drop_first"), "sum"))


def test_rows_of_the_two_splits_are_different_problems() -> None:
    params = CodeTinyParams(count=120)
    train, held_out = ({r["question"] for _, r in rows(3, split, params)} for split in ("train", "held-out"))
    assert len(train) == 120
    assert len(held_out) == 120
    assert not train & held_out
    assert [r for _, r in rows(3, "train", params)] == [r for _, r in rows(3, "train", params)]
    with pytest.raises(ValueError, match=r"1000 problems of 2 steps .* has \d+; lower params\.count"):
        list(rows(0, "train", CodeTinyParams(count=1000, min_steps=2, max_steps=2)))


def test_the_corpus_reads_train_problems_alone_and_in_known_pieces(tmp_path: Path) -> None:
    build_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    found = documents(1, 0, 400)
    assert found == documents(1, 0, 400)
    assert {d.kind for d in found} == {*STYLES, "phrases"}
    unknown = tokenizer.token_id("<unk>")
    for document in found:
        ids = tokenizer.encode(document.text, add_special_tokens=False)
        assert unknown not in ids
        assert tokenizer.decode(ids) == document.text
        assert document.problem is None or document.problem.split == "train"
    held_out = random_problem(random.Random(0), 3, "held-out")
    assert unknown not in tokenizer.encode(question(held_out) + fenced(program(held_out)))


def test_styles_are_what_they_say() -> None:
    for document in documents(2, 0, 600):
        if document.problem is None:
            continue
        reply = document.text.removeprefix(question(document.problem))
        text = program_of(reply, "python")
        numbers = [[3, -2, 0, 5], [4], [-7, 2, 2]]
        if document.kind in ("bare", "words"):
            assert text is None
        elif document.kind == "broken":
            assert text is not None
            with pytest.raises(SyntaxError):
                compile(text, "", "exec")
        else:
            assert text is not None
            if document.kind == "right":
                assert all(ran(text, xs) == solve(document.problem, list(xs)) for xs in numbers)
            else:
                assert text != program(document.problem)
