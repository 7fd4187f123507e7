"""Rows of TRL and verl, as `grpo reward score` and `grpo reward try` read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewards.lab.rows import read_data
from rewards.plain_rows import plain
from rewards.scoring.score_file import score_file

CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "7 * 4?"},
]
REPLY = [{"role": "assistant", "content": "<think> a </think> <answer>28</answer>"}]
VERL = {"data_source": "x", "prompt": CHAT, "reward_model": {"style": "rule", "ground_truth": "28"}}
TRL = {"prompt": CHAT, "solution": "28"}
SHAREGPT = {"prompt": [{"from": "human", "value": "7 * 4?"}], "answer": 28}


@pytest.mark.parametrize("row", [VERL, TRL, SHAREGPT], ids=["verl", "TRL", "ShareGPT"])
def test_question_and_reference_are_found(row: dict[str, Any]) -> None:
    found = plain(row | {"completion": REPLY})
    assert (found["prompt"], str(found["answer"])) == ("7 * 4?", "28")
    assert found["completion"] == REPLY[0]["content"]
    assert {key: found[key] for key in row.keys() - {"prompt", "answer"}} == {
        key: row[key] for key in row.keys() - {"prompt", "answer"}
    }


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "7 * 4?", "completion": "28", "answer": "28", "solution": "7 * 4 = 28"},
        {"prompt": "7 * 4?", "solution": "28"},  # text has a meaning of its own: a completion that is right
        {"prompt": [], "completion": 3},
        {"prompt": [1, 2], "answer": [1, 2]},
        {"prompt": [{"text": "7"}], "reward_model": "x"},
        {},
    ],
)
def test_other_rows_stay_as_they_are(row: dict[str, Any]) -> None:
    assert plain(row) == row


@pytest.mark.parametrize("row", [VERL, TRL, SHAREGPT], ids=["verl", "TRL", "ShareGPT"])
def test_such_rows_are_scored_and_tried(row: dict[str, Any], tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(
        json.dumps(row | {"completion": REPLY}) + "\n" + json.dumps(row | {"completion": "29"}) + "\n"
    )
    summary = score_file("accuracy", data, tmp_path / "out.jsonl", workers=1)
    scores = [json.loads(line)["score"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (summary.verdicts["ok"], scores) == (2, [1.0, 0.0])
    data.write_text(json.dumps(row) + "\n")
    read = read_data(data, 10)
    assert read.problems == ()
    assert (read.rows[0].prompt, read.rows[0].gold) == ("7 * 4?", "28")
