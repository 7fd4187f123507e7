import json

import pytest

from rewards.errors import RewardLoadError
from rewards.scoring.score_file import score_file


def _write(path, *lines):
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    )
    return path


def _run(tmp_path, name, *lines, **more):
    out = tmp_path / "scores.jsonl"
    summary = score_file(name, _write(tmp_path / "cases.jsonl", *lines), out, **more)
    return summary, [json.loads(line) for line in out.read_text().splitlines()]


def test_rows_keep_their_order_and_bad_ones_cost_only_themselves(tmp_path):
    good = "<think>a</think><answer>42</answer>"
    summary, rows = _run(
        tmp_path,
        "accuracy",
        {"id": "one", "completion": good, "answer": "42"},
        b"{broken",
        {"completion": good, "answer": 41},
        {"completion": good},
        {"completion": good, "answer": None},
        {"answer": "42"},
        {"completion": 3, "answer": "42"},
        {"completion": good, "answer": {"a": 1}},
        {"completion": good, "answer": [42]},
        b"[1]",
        b"",
        b'{"completion": "\xff", "answer": 1}',
        {"completion": good, "answer": 42.0, "prompt": None},
        {"completion": good, "answer": 42, "prompt": 5},
        b'{"completion": "<answer>1</answer>", "answer": NaN}',
        workers=1,
    )
    assert [row["verdict"] for row in rows] == [
        "ok", "error", "ok", "abstain", "abstain", "error", "error", "error", "ok", "error", "error", "ok",
        "error", "error",
    ]  # fmt: skip
    assert [row["score"] for row in rows if row["verdict"] == "ok"] == [1.0, 0.0, 1.0, 1.0]
    assert all((row["score"] is None) == (row["verdict"] != "ok") for row in rows)
    assert all(row["reason"] for row in rows if row["verdict"] != "ok")
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert rows[0]["id"] == "one"
    assert set(rows[0]) == {"index", "id", "score", "verdict", "reason", "seconds"}
    assert (summary.rows, summary.verdicts["ok"], summary.mean) == (14, 4, 0.75)


def test_format_needs_no_answer(tmp_path):
    _, rows = _run(
        tmp_path, "format", {"completion": "<think>a</think><answer>b</answer>"}, {"completion": "x"}
    )
    assert [row["score"] for row in rows] == [1.0, 0.0]


def test_columns_reach_the_reward(tmp_path):
    _, rows = _run(
        tmp_path, "language_consistency", {"completion": "<think>good day</think>", "language": "en"}
    )
    assert rows[0]["score"] == 1.0


def test_plugin_with_params_and_a_hanging_row(tmp_path):
    (tmp_path / "p.py").write_text(
        "import time\ndef f(solution_str, ground_truth, scale=1):\n"
        "    while solution_str == 'hang': time.sleep(1)\n    return scale\n"
    )
    _, rows = _run(
        tmp_path,
        f"{tmp_path}/p.py:f",
        *({"completion": c, "answer": 1} for c in ("a", "hang", "b")),
        params={"scale": 3},
        timeout_s=0.5,
    )
    assert [(row["score"], row["verdict"]) for row in rows] == [(3.0, "ok"), (None, "timeout"), (3.0, "ok")]


def test_unloadable_reward_leaves_no_output(tmp_path):
    data = _write(tmp_path / "cases.jsonl", {"completion": "x"})
    out = tmp_path / "scores.jsonl"
    out.write_text("old")
    with pytest.raises(RewardLoadError):
        score_file("acuracy", data, out)
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases.jsonl", "scores.jsonl"]


def test_failure_in_the_middle_leaves_no_output(tmp_path, monkeypatch):
    data = _write(tmp_path / "cases.jsonl", {"completion": "x"})

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("rewards.scoring.score_file._record", full_disk)
    with pytest.raises(OSError, match="no space"):
        score_file("format", data, tmp_path / "scores.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["cases.jsonl"]


def test_missing_data_leaves_no_output(tmp_path):
    with pytest.raises(FileNotFoundError):
        score_file("format", tmp_path / "none.jsonl", tmp_path / "scores.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_empty_file_gives_an_empty_file(tmp_path):
    summary, rows = _run(tmp_path, "format", b"")
    assert (rows, summary.rows, summary.mean) == ([], 0, None)


def test_hostile_rows_among_good_ones(tmp_path):
    hostile = [r"10^{10^{10}}", r"x^{9999}-x^{9998}", r"\frac{" * 400, "99999999!", r"((999)^{999})^{999}"]
    lines = [{"completion": f"<answer>{h}</answer>", "answer": "x+1"} for h in hostile * 6]
    lines[::3] = [{"completion": "<answer>1+x</answer>", "answer": "x+1"}] * len(lines[::3])
    _, rows = _run(tmp_path, "accuracy", *lines, workers=1)
    assert [row["score"] for row in rows] == [1.0 if i % 3 == 0 else 0.0 for i in range(len(lines))]
