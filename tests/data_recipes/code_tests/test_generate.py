"""`grpo tests generate`, in the real sandbox, and both phases of `grpo tests build` behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from data_recipes.code_tests.generate import Effort, GenerateCounts, generate_tests
from data_recipes.code_tests.prompts import generators_request, model_writers, programs_in
from data_recipes.errors import DataError
from grpo.cli import app
from rewards.code.reward import Code
from rewards.llm.client import Llm
from rewards.llm.config import LlmConfig
from rewards.rows import RewardRow
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.shared import close_shared, shared_sandbox
from tests.scripted_llm import MODEL, raw, say, scripted_server

SMALL = "import random\nn = random.randint(2, 6)\nprint(n)\nprint(*(random.randint(-1, 1) for _ in range(n)))"
PROBLEM: dict[str, Any] = {
    "question": "Given n and n integers, print how many different values there are.",
    "correct": [
        "n = int(input())\nprint(len(set(map(int, input().split()))))",
        "input()\na = sorted(map(int, input().split()))\nprint(1 + sum(x != y for x, y in zip(a, a[1:])))",
    ],
    "wrong": [
        "n = int(input())\nprint(n)",
        "input()\na = list(map(int, input().split()))\nprint(1 + sum(x != y for x, y in zip(a, a[1:])))",
    ],
}


@pytest.fixture(scope="module", autouse=True)
def _sandbox() -> Iterator[None]:
    try:
        shared_sandbox()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield
    close_shared()


def made(
    row: dict[str, Any], seeds: int = 2, writers: Any = None, run_s: float = 10.0
) -> tuple[list[dict[str, Any]], GenerateCounts]:
    counts = GenerateCounts()
    effort = Effort(seeds=seeds, run_s=run_s)
    rows = iter([("here, line 1", row)])
    return list(generate_tests(rows, shared_sandbox(), counts, effort, writers)), counts


def test_every_outcome_of_a_generator_is_counted_and_seeds_repeat() -> None:
    row = PROBLEM | {
        "generators": [SMALL, "print(1)\nprint(5)", "raise ValueError('why')", "print()",
                       "import sys\nsys.stdout.buffer.write(b'\\xff')", "print('x' * 5_000_000)"],
        "tests": json.dumps([{"stdin": "1\n5", "stdout": "1"}]),
    }  # fmt: skip
    (found,), counts = made(row)
    assert found["tests"][0] == {"stdin": "1\n5", "stdout": "1"}
    assert all(re.fullmatch(r"\d\n[-01 ]+\n", test["stdin"]) for test in found["tests"][1:])
    assert (counts.generators, counts.runs, counts.added + counts.repeated) == (6, 12, 4)
    assert counts.repeated >= 2
    assert (counts.failed, counts.malformed) == (6, 2)
    assert counts.first_failure.startswith("here, line 1, generator 3: ")
    assert "ValueError: why" in counts.first_failure
    assert "generators" not in found
    assert made(row)[0] == [found]


def test_a_generator_that_never_ends_is_ended() -> None:
    found, counts = made(PROBLEM | {"generators": ["while True: pass"]}, seeds=1, run_s=0.5)
    assert (found, counts.failed) == ([], 1)
    assert "generator 1: " in counts.first_failure


def test_a_function_gets_lists_of_arguments() -> None:
    row = {
        "question": "add", "entry_point": "add", "tests": [{"args": [1, 2], "expected": 3}],
        "generators": ["print([1, 2])", "print([3, -4])", 'print({"a": 1})', "print('3 4')"],
    }  # fmt: skip
    (found,), counts = made(row, seeds=1)
    assert found["tests"] == [{"args": [1, 2], "expected": 3}, {"args": [3, -4]}]
    assert (counts.repeated, counts.malformed) == (1, 2)


def test_a_problem_without_any_input_is_left_out_and_named() -> None:
    found, counts = made(PROBLEM | {"generators": ["raise SystemExit(1)"]})
    assert found == []
    assert counts.without == ["here, line 1"]


def test_a_model_writes_generators(tmp_path: Path) -> None:
    reply = f"<think>```python\nno\n```</think>Small:\n```python\n{SMALL}\n```\nShell:\n```bash\nls\n```"
    with scripted_server() as script:
        script.answer = lambda sent: (
            raw(b"{}", 400) if "long" in sent["messages"][-1]["content"] else say(reply)
        )
        with Llm(LlmConfig(url=script.url, model=MODEL, cache=tmp_path)) as llm:
            (found,), counts = made(dict(PROBLEM), writers=model_writers(llm, 2, seed=0))
            assert made(PROBLEM | {"question": "long"}, writers=model_writers(llm, 1, seed=0))[0] == []
    assert counts.generators == 1
    assert found["tests"]
    assert sorted(sent["seed"] for sent in script.asked) == [0, 0, 1]
    assert script.asked[0]["messages"][-1]["content"].endswith(PROBLEM["question"])


def test_the_shipped_example_is_right() -> None:
    messages = generators_request("q").messages
    programs = programs_in(messages[2].content)
    assert len(programs) == 3
    row = PROBLEM | {"generators": programs}
    (found,), counts = made(row, seeds=1)
    assert (counts.failed, counts.added) == (0, 3)
    for test in found["tests"]:
        lines = test["stdin"].split("\n")
        assert len(lines[1].split()) == int(lines[0]) <= 100_000
    assert "JSON" in generators_request("q", "f").messages[0].content
    assert len(generators_request("q", "f").messages) == 2


def test_candidates_become_tests_that_reward_code_reads(tmp_path: Path) -> None:
    problems, candidates, out = (tmp_path / name for name in ("p.jsonl", "c.jsonl", "t.jsonl"))
    generators = [SMALL, "print('not an input')"]
    problems.write_text(json.dumps(PROBLEM | {"generators": generators}) + "\n")
    shell = CliRunner()
    first = shell.invoke(app, ["tests", "generate", str(problems), "--out", str(candidates), "--seeds", "5"])
    assert first.exit_code == 0, first.output
    assert shell.invoke(app, ["tests", "build", str(candidates), "--out", str(out)]).exit_code == 0
    row = json.loads(out.read_text())
    counts = json.loads((tmp_path / "t.jsonl.json").read_text())
    assert (counts["unfilled"] + counts["unfit"], counts["survivors"]) == (1, 0)
    reward = Code()
    for name, value in (("correct", 1.0), ("wrong", 0.0)):
        for program in PROBLEM[name]:
            score = reward(RewardRow(f"```python\n{program}\n```", columns={"tests": row["tests"]}))
            assert score.total == value


def test_a_file_without_generators_is_refused(tmp_path: Path) -> None:
    problems = tmp_path / "p.jsonl"
    problems.write_text(json.dumps(PROBLEM) + "\n")
    done = CliRunner().invoke(app, ["tests", "generate", str(problems), "--out", str(tmp_path / "c.jsonl")])
    assert isinstance(done.exception, DataError)
    assert "add --llm FILE" in str(done.exception)
