"""Rows come out of every kind of file alike, and a command that scored nothing does not end well."""

import gzip
import json

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from grpo.commands.reward import reward_app
from rewards.lab.rows import read_data
from rewards.row_files import read_file
from rewards.scoring.score_file import score_file

GOOD = "<think>a</think> <answer>42</answer>"
ROWS = [{"completion": GOOD, "answer": "42", "id": "a"}, {"completion": "x", "answer": "4", "id": "b"}]


def write(path, kind, rows):
    if kind == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(text) if kind == "gzip" else text)
    return path


def score(tmp_path, data, name="format"):
    result = CliRunner().invoke(
        reward_app, ["score", name, "--data", str(data), "--out", str(tmp_path / "out.jsonl")]
    )
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    return result, [json.loads(line) for line in lines]


@pytest.mark.parametrize("kind", ["lines", "gzip", "parquet"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.parquet", "x"])
def test_the_content_says_what_a_file_is(tmp_path, kind, name):
    data = write(tmp_path / name, kind, ROWS)
    result, rows = score(tmp_path, data)
    assert result.exit_code == 0
    assert [(row["id"], row["score"]) for row in rows] == [("a", 1.0), ("b", 0.0)]
    cases = [{"prompt": "6 × 7?", "answer": "42"}, {"prompt": "2 + 2?", "answer": "4"}]
    lab = read_data(write(tmp_path / name, kind, cases), 32)
    assert [(row.line, row.answer) for row in lab.rows] == [(1, "42"), (2, "4")]
    assert not lab.problems


@given(
    rows=st.lists(st.fixed_dictionaries({"completion": st.text(), "answer": st.one_of(st.none(), st.text())}))
)
def test_every_kind_of_file_gives_the_same_records(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    kinds = ["lines", "gzip", "parquet"] if rows else ["lines", "gzip"]
    for kind in kinds:
        assert [row.record for row in read_file(write(folder / kind, kind, rows))] == rows


def test_a_row_group_is_not_read_whole(tmp_path):
    rows = [{"completion": str(i), "answer": None} for i in range(1000)]
    read = read_file(write(tmp_path / "x", "parquet", rows))
    assert next(read).record == rows[0]
    assert [row.number for row in read] == list(range(2, 1001))


@pytest.mark.parametrize("content", [b"no JSON\n[1]\n", b'{"answer": 1}\n', b"\x00\x01\x02"])
def test_a_file_without_a_row_that_can_be_scored_is_a_failure(tmp_path, content):
    data = tmp_path / "x.jsonl"
    data.write_bytes(content)
    result, rows = score(tmp_path, data)
    assert {row["verdict"] for row in rows} == {"error"}
    assert result.exit_code == 1
    assert "no row could be scored" in result.output
    assert "first error" in result.output


def test_one_row_that_is_scored_is_enough(tmp_path):
    data = tmp_path / "x.jsonl"
    data.write_text("no JSON\n" + json.dumps(ROWS[0]) + "\n")
    assert score(tmp_path, data)[0].exit_code == 0


def test_a_reward_that_always_raises_is_a_failure(tmp_path):
    (tmp_path / "own.py").write_text("def broken(row):\n    raise KeyError('gold')\n")
    result, _ = score(tmp_path, write(tmp_path / "x.jsonl", "lines", ROWS), f"{tmp_path}/own.py:broken")
    assert result.exit_code == 1
    assert "KeyError" in result.output


def test_a_damaged_parquet_file_is_named(tmp_path):
    data = write(tmp_path / "x.parquet", "parquet", ROWS)
    data.write_bytes(data.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"x\.parquet, after row 0: not a readable Parquet file"):
        score_file("accuracy", data, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
