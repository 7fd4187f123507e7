"""The laboratory finds planted defects and passes honest rewards. benchmarks/reward_lab.py measures it on many more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import reward_lab_plugins
from grpo.cli import app
from rewards.lab.cases import Scores
from rewards.lab.lab import Options, try_reward
from rewards.lab.perturb import differs, wrong_answers
from rewards.lab.report import lines
from rewards.lab.rows import answer_text, read_data

PLUGINS = reward_lab_plugins.__file__
ROWS = [
    ("What is 17 + 25?", "42"),
    ("What is 9 - 12?", "-3"),
    ("Half of 1?", "1/2"),
    ("What is 9 * 125?", "1,125"),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The long repetitions are for chance and clocks; what is tested here shows at once."""
    monkeypatch.setattr("rewards.lab.stability._REPEAT_S", 0.1)
    monkeypatch.setattr("rewards.lab.stability._THREAD_S", 0.2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in ROWS))
    return path


def _failed(name: str, data: Path, **options: object) -> set[str]:
    report = try_reward(name, data, Options(**({"params": {}, "timeout_s": 1.0} | options)))
    assert report.passed == (not {c.name for c in report.checks if c.status == "fail"})
    return {check.name for check in report.checks if check.status == "fail"}


@pytest.mark.parametrize("name", ["good_exact", "good_split"])
def test_honest_rewards_pass(name: str, data: Path) -> None:
    assert _failed(f"{PLUGINS}:{name}", data) == set()


def test_accuracy_passes_and_so_does_format_as_a_shape(data: Path) -> None:
    assert _failed("accuracy", data, timeout_s=10.0) == set()
    assert _failed("format", data) == _failed("format_r1", data) == set()


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("bad_contained_anywhere", "contained"),
        ("bad_ignores_sign", "perturbed"),
        ("bad_accepts_empty", "empty"),
        pytest.param("bad_unclosed", "truncated", marks=pytest.mark.slow),
        pytest.param("bad_echo", "echo", marks=pytest.mark.slow),
        pytest.param("bad_always_right_when_long", "padding", marks=pytest.mark.slow),
        pytest.param("bad_constant_zero", "gold", marks=pytest.mark.slow),
        pytest.param("bad_exception_is_right", "garbled", marks=pytest.mark.slow),
        ("bad_nan", "verdicts"),
        pytest.param("bad_forgets_a_row", "verdicts", marks=pytest.mark.slow),
        ("bad_pays_once", "repeatable"),
        pytest.param("bad_noise", "repeatable", marks=pytest.mark.slow),
        ("bad_ranks_by_position", "order"),
        ("bad_standardised", "batch"),
        ("bad_seeded_by_hash", "processes"),
        ("bad_global_list", "threads"),
        pytest.param("bad_alarm", "threads", marks=pytest.mark.slow),
        ("bad_hangs_on_empty", "deadline"),
    ],
)
def test_planted_defects_are_found(name: str, check: str, data: Path) -> None:
    assert check in _failed(f"{PLUGINS}:{name}", data)


def test_a_slow_reward_is_tried_in_part_and_the_report_says_so(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rewards.lab.lab._FIRST_BUDGET_S", 0.2)
    monkeypatch.setattr("rewards.lab.stability._PASS_S", 0.1)
    plugin = tmp_path / "slow.py"
    plugin.write_text(
        "import time\ndef slow(row):\n    time.sleep(0.005)\n"
        "    return float(f'<answer>{row.answer}</answer>' in row.completion)\n"
    )
    report = try_reward(f"{plugin}:slow", data, Options({}, timeout_s=1.0))
    assert 0 < report.tried < report.cases
    assert {c.name for c in report.checks if c.status == "fail"} <= {"truncated", "contained", "tags"}


def test_a_reward_that_does_not_load_is_one_failed_check(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_that_name\n")
    report = try_reward(f"{broken}:reward", data, Options({}))
    assert [(c.name, c.status) for c in report.checks if c.status == "fail"] == [("loads", "fail")]
    assert "nothing_of_that_name" in report.checks[0].detail


def test_labelled_completions_are_held_to_their_score(tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    rows = [("<answer>42</answer>", 1.0), ("<answer>43</answer>", 0.0), ("<answer>41</answer>", 1.0)]
    path.write_text(
        "".join(json.dumps({"completion": c, "answer": "42", "expected": e}) + "\n" for c, e in rows)
    )
    report = try_reward(f"{PLUGINS}:good_exact", path, Options({}))
    (labels,) = [check for check in report.checks if check.name == "labels"]
    assert (labels.cases, labels.failed, labels.status) == (3, 1, "fail")
    assert labels.examples[0].expected == "1"


def test_other_scores_than_one_and_nought(data: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "signed.py"
    plugin.write_text(
        "import re\ndef signed(row):\n"
        "    found = re.findall('<answer>(.*?)</answer>', row.completion.rpartition('</think>')[2])\n"
        "    return 2.0 if found and found[-1].strip() == row.answer else -1.0\n"
    )
    assert _failed(f"{plugin}:signed", data, scores=Scores(2.0, -1.0)) == set()
    assert "gold" in _failed(f"{plugin}:signed", data)


def test_bad_lines_are_counted_and_the_others_used(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"prompt": "q", "answer": "1"}\nnonsense\n[1]\n{"prompt": "q"}\n')
    found = read_data(path, 32)
    assert len(found.rows) == 1
    assert [problem.split(":")[0] for problem in found.problems] == ["line 2", "line 3", "line 4"]


def test_a_completion_without_a_label_must_get_a_number_and_its_answer_makes_cases(tmp_path: Path) -> None:
    path = tmp_path / "scored.jsonl"
    path.write_text('{"prompt": "What is 2 + 2?", "answer": "4", "completion": "five"}\n')
    found = read_data(path, 32)
    assert [(row.gold, row.is_own) for row in found.rows] == [("4", False)]
    assert [(item.completion, item.expected) for item in found.labelled] == [("five", None)]
    report = try_reward(f"{PLUGINS}:good_exact", path, Options({}))
    assert report.passed
    assert {c.name: c.status for c in report.checks}["labels"] == "skip"


def test_what_a_call_leaves_behind_is_told(tmp_path: Path) -> None:
    plugin, path = tmp_path / "leaked.py", tmp_path / "one.jsonl"
    path.write_text('{"completion": "<answer>4</answer>", "answer": "4", "expected": 1}\n')
    plugin.write_text(
        "import threading, time\ndef leaked(row):\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n    return 1.0\n"
    )
    checks = {c.name: c for c in try_reward(f"{plugin}:leaked", path, Options({})).checks}
    assert (checks["tidy"].status, checks["tidy"].failed) == ("warn", 1)


def test_a_rows_own_completion_gets_a_slot_where_its_answer_stands(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"prompt": "q", "answer": "42", "solution": "17 and 25 make 42, so 42."}\n')
    (row,) = read_data(path, 32).rows
    assert (row.around, row.gold, row.is_own) == ("17 and 25 make 42, so {answer}.", "42", True)


@pytest.mark.parametrize(
    "answer", ["42", "-3", "1/2", "1,125", "3.50", "(B)", "Paris", r"\frac{3}{4}", "x=5"]
)
def test_wrong_answers_are_wrong(answer: str) -> None:
    made = wrong_answers(answer, ["77", "Rome"])
    assert len(made) >= 2
    assert all(differs(answer, text) for _, text in made)


def test_wrong_answers_hold_the_same_digits_and_the_same_end() -> None:
    made = {text for _, text in wrong_answers("1125", [])}
    assert {"2125", "1152"} <= made
    assert "10" not in {text for _, text in wrong_answers("10", [])}
    assert "01" not in {text for _, text in wrong_answers("10", [])}


def test_an_answer_is_written_as_a_person_would() -> None:
    assert [answer_text(a) for a in (42, 42.0, 0.5, [3, 5], ["colour", "color"], None)] == [
        "42", "42", "0.5", "3, 5", "colour", "",
    ]  # fmt: skip


def test_the_command_says_fit_or_not_by_its_exit_code(data: Path) -> None:
    good = CliRunner().invoke(app, ["reward", "try", f"{PLUGINS}:good_exact", "--data", str(data), "--json"])
    assert good.exit_code == 0, good.output
    report = json.loads(good.output)
    assert report["passed"] is True
    assert {"name", "status", "meaning", "cases", "failed", "detail", "examples"} == report["checks"][
        0
    ].keys()
    bad = CliRunner().invoke(app, ["reward", "try", f"{PLUGINS}:bad_ignores_sign", "--data", str(data)])
    assert bad.exit_code == 1
    assert "not fit to train with" in bad.output


def test_the_report_shows_the_traceback_of_a_reward_that_raises(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text('def exact(row):\n    return row.columns["gold"] == row.completion\n')
    (tmp_path / "cases.jsonl").write_text(
        '{"prompt": "1+1", "answer": "2"}\n{"prompt": "1+2", "answer": "3"}\n'
    )
    report = try_reward(f"{file}:exact", tmp_path / "cases.jsonl", Options({}))
    (trace,) = report.traces
    assert f'File "{file}", line 2, in exact' in trace
    assert trace.endswith("KeyError: 'gold'")
    shown = "\n".join(lines(report))
    assert f'File "{file}", line 2, in exact' in shown
    assert f"raised KeyError: 'gold' ({file}:2)" in shown
