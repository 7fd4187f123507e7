"""Tests and programs of a problem: both commands read the same columns and name the same errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from data_recipes.code_tests.columns import candidates, programs
from data_recipes.errors import DataError
from grpo.cli import app

TESTS: list[dict[str, Any]] = [{"args": [1, 2]}, {"stdin": "3\n", "stdout": "4\n"}]


@pytest.mark.parametrize("value", [TESTS, json.dumps(TESTS), f"\n {json.dumps(TESTS)} "])
def test_tests_are_a_list_or_its_json(value: object) -> None:
    assert candidates("here", {"tests": value}) == TESTS


@pytest.mark.parametrize("row", [{}, {"tests": None}, {"tests": ""}, {"tests": " \n"}, {"tests": []}])
def test_a_row_may_have_no_tests(row: dict[str, object]) -> None:
    assert candidates("here", row) == []


@pytest.mark.parametrize(
    ("tests", "entry_point", "wanted"),
    [
        (
            {"inputs": ["1\n", ["2", "3"]], "outputs": ["1", ["5"]]},
            None,
            [{"stdin": "1\n", "stdout": "1"}, {"stdin": "2\n3", "stdout": "5"}],
        ),
        (
            {"inputs": [[1, 2]], "outputs": [[3]], "fn_name": "add"},
            "add",
            [{"args": [1, 2], "expected": [3], "or_expected": 3}],
        ),
        (
            [{"input": "4\n[1]", "output": "5", "testtype": "functional"}],
            "f",
            [{"args": [4, [1]], "expected": 5}],
        ),
        (["assert f(1) == 2", "assert f(2) == 3"], None, ["assert f(1) == 2", "assert f(2) == 3"]),
        (
            "def check(candidate):\n    assert candidate(1)",
            "f",
            ["def check(candidate):\n    assert candidate(1)"],
        ),
    ],
)
def test_forms_of_public_data_sets(tests: object, entry_point: str | None, wanted: list[object]) -> None:
    row = {"tests": tests, "entry_point": entry_point}
    assert candidates("here", row) == wanted
    assert (
        candidates("here", row | {"tests": tests if isinstance(tests, str) else json.dumps(tests)}) == wanted
    )
    assert candidates("here", row | {"tests": wanted}) == wanted


def test_a_program_counts_once() -> None:
    assert programs("here", {"wrong": ["b", "a", "b"]}, "wrong") == ["b", "a"]
    assert programs("here", {}, "wrong") == programs("here", {"wrong": None}, "wrong") == []


GENERATE, BUILD = ["generate"], ["build"]


@pytest.mark.parametrize("command", [GENERATE, BUILD])
@pytest.mark.parametrize(
    ("tests", "words"),
    [
        ({"a": 1}, "tests: expected `inputs` and `outputs`"),
        (3, "tests: tests are int, expected a list"),
        ('{"a": 1}', "tests: expected `inputs` and `outputs`"),
        ([3], "tests: a test must be an object or a line of code"),
        ({"inputs": ["1"], "outputs": []}, "two lists of the same length"),
    ],
)
def test_tests_that_cannot_be_read(command: list[str], tests: object, words: str, tmp_path: Path) -> None:
    row = {"question": "q", "generators": ["print(1)"], "correct": ["print(1)"], "tests": tests}
    assert words in refused(command, row, tmp_path)


@pytest.mark.parametrize(
    ("command", "name"), [(GENERATE, "generators"), (BUILD, "correct"), (BUILD, "wrong")]
)
@pytest.mark.parametrize("value", ["print(1)", [3], [None], [" "], {"a": 1}, 0, ""])
def test_programs_that_cannot_be_read(command: list[str], name: str, value: object, tmp_path: Path) -> None:
    row = {"question": "q", "correct": ["print(1)"], "tests": [{"stdin": ""}]} | {name: value}
    assert f"{name} = {value!r}; expected a list of programs" in refused(command, row, tmp_path)


@pytest.mark.parametrize(
    ("row", "words"),
    [({"tests": [{"stdin": ""}]}, "no correct program"), ({"correct": ["x"]}, "no candidate tests")],
)
def test_what_build_needs(row: dict[str, object], words: str, tmp_path: Path) -> None:
    assert words in refused(BUILD, row, tmp_path)


def refused(command: list[str], row: dict[str, object], folder: Path) -> str:
    """Run a command on a row that it must refuse by its place; returns what it says."""
    data, out = folder / "in.jsonl", folder / "out.jsonl"
    data.write_text(json.dumps(row) + "\n")
    done = CliRunner().invoke(app, ["tests", *command, str(data), "--out", str(out)])
    assert isinstance(done.exception, DataError), done.output
    assert str(done.exception).startswith(f"{data}, line 1: ")
    assert not out.exists()
    return str(done.exception)
