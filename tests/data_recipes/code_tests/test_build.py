"""The two-phase test builder: the choice by properties, the whole in the real sandbox."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data_recipes.code_tests.build import BuildCounts, build_tests
from data_recipes.code_tests.select import select_tests
from grpo.cli import app
from rewards.code.judge import Bounds, Judge
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.shared import close_shared, shared_sandbox


@st.composite
def matrices(draw: st.DrawFn) -> tuple[list[list[bool]], list[list[bool]]]:
    tests = draw(st.integers(0, 6))
    row = st.lists(st.booleans(), min_size=tests, max_size=tests)
    return draw(st.lists(row, min_size=1, max_size=3)), draw(st.lists(row, max_size=5))


@given(matrices(), st.none() | st.integers(0, 6))
def test_what_is_kept(pair: tuple[list[list[bool]], list[list[bool]]], most: int | None) -> None:
    correct, wrong = pair
    count = len(correct[0])
    chosen = select_tests(correct, wrong, most)
    assert sorted((*chosen.kept, *chosen.unfit, *chosen.idle, *chosen.spare)) == list(range(count))
    assert list(chosen.kept) == sorted(chosen.kept)
    for t in chosen.kept:
        assert all(row[t] for row in correct)
        assert not wrong or any(not row[t] for row in wrong)
    for t in chosen.unfit:
        assert not all(row[t] for row in correct)
    for t in chosen.idle:
        assert wrong
        assert all(row[t] for row in (*correct, *wrong))
    assert most is None or len(chosen.kept) <= most
    assert most is not None or not chosen.spare
    passing = [w for w, row in enumerate(wrong) if all(row[t] for t in chosen.kept)]
    assert list(chosen.survivors) == passing
    if most is not None and chosen.spare:
        assert len(chosen.kept) == most


def test_the_strongest_tests_come_first() -> None:
    wrong = [[False, True, False], [False, True, True], [True, False, True]]
    assert select_tests([[True] * 3], wrong, most=2).kept == (0, 1)
    assert select_tests([[True] * 3], wrong, most=2).survivors == ()


def test_it_needs_a_correct_program_and_whole_rows() -> None:
    with pytest.raises(ValueError, match="no correct program"):
        select_tests([], [])
    with pytest.raises(ValueError, match="every test"):
        select_tests([[True]], [[True, False]])


ROWS: list[dict[str, Any]] = [
    {
        "question": "add",
        "entry_point": "add",
        "correct": ["def add(a, b):\n    return a + b", "def add(a, b):\n    return sum((a, b))"],
        "wrong": ["def add(a, b):\n    return a * b", "def add(a, b):\n    return a - b"],
        "tests": [
            {"args": [1, 2], "expected": 3},  # breaks both
            {"args": [0, 0], "expected": 0},  # breaks none
            {"args": [2, 2], "expected": 5},  # wrong itself
            {"args": [2, 2]},  # breaks a - b
            {"args": ["a", "b"]},  # the two correct ones differ
        ],
    },
    {
        "question": "echo",
        "correct": ["print(input())"],
        "wrong": ["print(input().strip())"],
        "tests": [{"stdin": " x"}, {"stdin": "x"}, {"stdin": "", "stdout": ""}],
    },
    {"question": "hopeless", "correct": ["print(1)"], "tests": [{"stdin": "", "stdout": "2"}]},
]


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    try:
        yield Judge(shared_sandbox(), Bounds(test_s=1.0, total_s=60.0))
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    close_shared()


def test_build(judge: Judge) -> None:
    counts = BuildCounts()
    rows = list(build_tests(((f"row {n}", row) for n, row in enumerate(ROWS)), judge, counts))
    assert rows == [
        {
            "question": "add",
            "entry_point": "add",
            "tests": [{"args": [1, 2], "expected": 3}, {"args": [2, 2], "expected": 4}],
        },
        {"question": "echo", "tests": [{"stdin": " x", "stdout": " x\n"}]},
    ]
    assert asdict(counts) == {
        "problems": 3,
        "kept_problems": 2,
        "tests": 9,
        "kept": 3,
        "unfilled": 0,
        "unfit": 4,
        "idle": 2,
        "spare": 0,
        "wrong_programs": 3,
        "survivors": 0,
        "left_out": ["row 2"],
    }


def test_mutants_serve_as_wrong_programs(judge: Judge) -> None:
    row = {k: v for k, v in ROWS[0].items() if k != "wrong"}
    counts = BuildCounts()
    built = list(build_tests(iter([("row", row)]), judge, counts, mutants_of_each=8, most=1))
    assert counts.wrong_programs >= 3
    assert len(built[0]["tests"]) == 1
    assert counts.survivors == 0


def test_the_command(tmp_path: Path, judge: Judge) -> None:
    data, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = CliRunner().invoke(app, ["tests", "build", str(data), "--out", str(out), "--most", "1"])
    assert done.exit_code == 0, done.output
    assert "2 of 3 problems" in done.output
    assert [len(json.loads(line)["tests"]) for line in out.read_text().splitlines()] == [1, 1]
    assert json.loads((tmp_path / "out.jsonl.json").read_text())["spare"] == 1
