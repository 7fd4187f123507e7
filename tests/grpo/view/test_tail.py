"""Following files that grow, are torn, are replaced."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from grpo.tracking.jsonl import append_rows, truncate_to
from grpo.view.curves import RunCurves
from grpo.view.tail import JsonTail, last_rows


def line(step: int) -> str:
    return json.dumps({"step": step, "loss": step / 2, "text": "é" * (step % 3)}) + "\n"


@given(cuts=st.lists(st.integers(0, 400), max_size=12), steps=st.integers(0, 9))
def test_a_file_read_while_it_is_written_gives_each_row_once(
    tmp_path_factory: object, cuts: list[int], steps: int
) -> None:
    """Whatever byte a writer stops at between two looks, inside a letter or a number too."""
    path = tmp_path_factory.mktemp("tail") / "metrics.jsonl"  # type: ignore[attr-defined]
    content = "".join(line(step) for step in range(steps)).encode()
    tail, rows = JsonTail(path), []
    for cut in [*sorted(cuts), len(content)]:
        path.write_bytes(b"") if not path.exists() else None
        with path.open("r+b") as file:
            file.write(content[:cut])
        again, new = tail.read()
        assert not again
        rows += new
    assert [row["step"] for row in rows] == list(range(steps))
    assert tail.problem == ""


def test_a_resumed_run_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_rows(path, [{"step": step} for step in range(1, 6)])
    tail = JsonTail(path)
    assert [row["step"] for row in tail.read()[1]] == [1, 2, 3, 4, 5]
    truncate_to(path, 3)
    append_rows(path, [{"step": 4, "loss": 1.0}])
    again, rows = tail.read()
    assert again
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    path.unlink()
    assert tail.read() == (True, [])
    assert tail.read() == (False, [])


def test_a_damaged_line_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1) + "garbage\n" + line(2) + '{"loss": 1}\n' + line(3) + '{"step": 4, "lo')
    tail = JsonTail(path)
    assert [row["step"] for row in tail.read()[1]] == [1, 2, 3]
    assert tail.problem == "metrics.jsonl, line 2: not a JSON object with a step"
    assert [row["step"] for row in last_rows(path)] == [1, 2, 3]


def test_the_end_of_a_long_file_is_read_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_rows(path, [{"step": step, "text": "x" * 500} for step in range(1000)])
    rows = last_rows(path)
    assert rows[-1]["step"] == 999
    assert 50 < len(rows) < 200
    assert last_rows(tmp_path / "none.jsonl") == []


def test_curves_follow_a_run_that_goes_back(tmp_path: Path) -> None:
    append_rows(
        tmp_path / "metrics.jsonl",
        [{"step": 1, "a": 1.0}, {"step": 2, "a": 2.0, "b": 5.0}, {"step": 3, "a": None}],
    )
    append_rows(
        tmp_path / "eval.jsonl", [{"step": 0, "pass1": 0.25, "ci_low": 0.2, "ci_high": 0.3, "by_group": {}}]
    )
    run = RunCurves(tmp_path)
    assert run.curves()["a"] == {"x": [1, 2], "y": [1.0, 2.0]}
    assert run.curves()["b"] == {"x": [2], "y": [5.0]}
    assert run.curves()["eval/pass1"] == {"x": [0], "y": [0.25], "ci_low": [0.2], "ci_high": [0.3]}
    truncate_to(tmp_path / "metrics.jsonl", 1)
    append_rows(tmp_path / "metrics.jsonl", [{"step": 2, "a": 7.0}])
    assert run.curves()["a"] == {"x": [1, 2], "y": [1.0, 7.0]}
    assert "b" not in run.curves()


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=300), st.integers(1, 50))
def test_thinned_curves_keep_ends_and_mean(values: list[float], points: int) -> None:
    from grpo.view.curves import thinned

    curve = thinned(range(len(values)), values, points)
    assert len(curve["x"]) == min(points, len(values))
    assert curve["x"][-1] == len(values) - 1
    assert min(values) - 1e-9 <= min(curve["y"]) <= max(curve["y"]) <= max(values) + 1e-9
