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

from data_recipes.builders.code import columns
from data_recipes.builders.formats.code import from_built
from data_recipes.builders.formats.registry import FORMATS
from data_recipes.code_tests.build import BuildCounts, build_tests
from data_recipes.code_tests.select import select_tests
from grpo.cli import app
from rewards.code.judge import Bounds, Judge
from rewards.code.reward import Code
from rewards.rows import RewardRow
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


PUBLIC: dict[str, tuple[dict[str, Any], str, str]] = {
    "apps": (
        {
            "question": "Add two numbers.",
            "input_output": json.dumps({"inputs": ["3 4\n", "1 1\n"], "outputs": ["7\n", "2\n"]}),
        },
        "a, b = map(int, input().split())\nprint(a + b)",
        "a, b = map(int, input().split())\nprint(7)",
    ),
    "apps with a function": (
        {
            "question": "Add two numbers.",
            "starter_code": "def add(a, b):",
            "input_output": {"inputs": [[3, 4], [1, 1]], "outputs": [[7], [2]], "fn_name": "add"},
        },
        "def add(a, b): return a + b",
        "def add(a, b): return 7",
    ),
    "livecodebench": (
        {
            "question_content": "Add two numbers.",
            "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        ",
            "public_test_cases": json.dumps([{"input": "3\n4", "output": "7", "testtype": "functional"}]),
            "private_test_cases": json.dumps([{"input": "1\n1", "output": "2", "testtype": "functional"}]),
            "metadata": json.dumps({"func_name": "add"}),
            "contest_date": "2022-01-01T00:00:00",
        },
        "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b",
        "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return 7",
    ),
    "humaneval": (
        {
            "prompt": "def add(a, b):\n",
            "entry_point": "add",
            "canonical_solution": "    return a + b\n",
            "test": "def check(candidate):\n    assert candidate(3, 4) == 7\n    assert candidate(1, 1) == 2\n",
        },
        "def add(a, b):\n    return a + b\n",
        "def add(a, b):\n    return 7\n",
    ),
    "mbpp": (
        {
            "text": "Add two numbers.",
            "code": "def add(a, b): return a + b",
            "test_list": ["assert add(3, 4) == 7", "assert add(1, 1) == 2"],
        },
        "def add(a, b): return a + b",
        "def add(a, b): return 7",
    ),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_problems_of_public_data_sets_come_through(name: str, judge: Judge) -> None:
    """The three commands of docs/r1.md: data build code, tests build, and the rows that RL reads."""
    public, right, wrong = PUBLIC[name]
    row = columns(FORMATS[name.split()[0]].convert("here", public)) | {"correct": [right], "wrong": [wrong]}
    (built,) = build_tests(iter([("here", row)]), judge, BuildCounts())
    assert len(built["tests"]) == 1
    kept = from_built("there", built)
    read = {"tests": kept.tests, "entry_point": kept.entry_point, "question": kept.question}
    for program, verdict in ((right, 1.0), (wrong, 0.0)):
        reply = RewardRow(completion=f"```python\n{program}\n```", prompt=kept.question, columns=read)
        assert Code(test_s=1.0)(reply).total == verdict


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
