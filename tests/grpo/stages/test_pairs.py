"""`grpo pairs`: files in, files out, with judges planted in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from pydantic import ValidationError

from data_recipes.errors import DataError
from grpo.config.pairs import PairsConfig
from grpo.stages.pairs import run
from rewards.errors import RewardLoadError

JUDGES = """
def sevens(row):
    return float(row.completion.count("7")) if "x" not in row.completion else None

def compare(prompt, first, second, seed, columns):
    return float(first.count("7") - second.count("7"))

def first_wins(prompt, first, second, seed, columns):
    return 2.0

def wrong(a, b):
    return 0.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "judges.py").write_text(JUDGES)
    texts = {"p": ["777", "1"], "q": ["22", "7727"], "r": ["7", "1"], "s": ["77x", "1"]}
    rows = [
        {"prompt_id": p, "prompt": f"{p}?", "completion": t, "kind": "general"}
        for p, some in texts.items()
        for t in some
    ]
    rows.append({"prompt_id": "m", "prompt": "m?", "completion": "7", "kind": "math"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def config(folder: Path, name: str, compares: bool, **changes: Any) -> PairsConfig:
    return PairsConfig.model_validate(
        {
            "source": str(folder / "rows.jsonl"),
            "out": folder / "pairs.parquet",
            "kinds": ("general",),
            "judge": {"name": f"{folder / 'judges.py'}:{name}", "compares": compares},
            "max_length_ratio": None,
        }
        | changes
    )


def test_a_comparing_judge(folder: Path) -> None:
    counts = run(config(folder, "compare", True))
    rows = {row["prompt"]: row for row in parquet.read_table(folder / "pairs.parquet").to_pylist()}
    assert set(rows) == {"p?", "q?", "s?"}
    assert (rows["q?"]["chosen"], rows["q?"]["rejected"], rows["q?"]["margin"]) == ("7727", "22", 3.0)
    assert rows["q?"]["votes"] == [3.0] * 4
    assert rows["q?"]["kind"] == "general"
    assert (counts["pairs"], counts["margin"], counts["order"], counts["kept"]) == (4, 1, 0, 3)
    assert json.loads((folder / "pairs.json").read_text()) == counts


def test_the_same_bytes_again(folder: Path) -> None:
    run(config(folder, "compare", True))
    first = (folder / "pairs.parquet").read_bytes()
    run(config(folder, "compare", True))
    assert (folder / "pairs.parquet").read_bytes() == first


def test_a_judge_of_one_place_leaves_nothing(folder: Path) -> None:
    with pytest.raises(DataError, match="'order': 4"):
        run(config(folder, "first_wins", True))
    assert not (folder / "pairs.parquet").exists()


def test_a_reward_as_judge_and_what_it_does_not_judge(folder: Path) -> None:
    counts = run(config(folder, "sevens", False, min_margin=0))
    rows = {row["prompt"]: row for row in parquet.read_table(folder / "pairs.parquet").to_pylist()}
    assert (counts["unjudged"], counts["kept"]) == (1, 3)
    assert rows["r?"]["chosen"] == "7"


def test_labels(folder: Path) -> None:
    counts = run(config(folder, "sevens", False, objective="pointwise", label_above=2.5))
    labels = [
        (row["completion"], row["label"]) for row in parquet.read_table(folder / "pairs.parquet").to_pylist()
    ]
    assert labels == [("777", 1), ("1", 0), ("22", 0), ("7727", 1), ("7", 0), ("1", 0), ("1", 0)]
    assert counts == {"completions": 8, "unjudged": 1, "label_1": 2, "label_0": 5}


def test_errors_are_named(folder: Path) -> None:
    with pytest.raises(RewardLoadError, match=r"write judge\(prompt, first, second, seed, columns\)"):
        run(config(folder, "wrong", True))
    with pytest.raises(ValidationError, match="votes is read with compares"):
        config(folder, "sevens", False, judge={"name": "x:y", "votes": 4})
    with pytest.raises(ValidationError, match="votes = 3 cannot be halved between both orders"):
        config(folder, "sevens", False, judge={"name": "x:y", "compares": True, "votes": 3})
    (folder / "rows.jsonl").write_text('{"prompt_id": "p", "prompt": "q"}\n')
    with pytest.raises(DataError, match="line 1: completion = None"):
        run(config(folder, "compare", True))


def test_one_id_for_two_prompts_and_every_bad_row_are_named(folder: Path) -> None:
    def line(prompt: str, text: str) -> str:
        return json.dumps({"prompt_id": "p", "prompt": prompt, "completion": text}) + "\n"

    (folder / "rows.jsonl").write_text(line(" ", "1"))
    with pytest.raises(DataError, match="line 1: prompt is empty"):
        run(config(folder, "compare", True))
    (folder / "rows.jsonl").write_text(line("a", "1") + line("b", "77") + "{\n")
    with pytest.raises(
        DataError,
        match=r"(?s)line 2: prompt_id 'p' has another prompt at .*line 1.*line 3: not JSON.*2 bad",
    ):
        run(config(folder, "compare", True))


@pytest.mark.parametrize("body", ["return None", "raise KeyError('x')", "return float('nan')"])
def test_a_judge_that_fails_is_named(folder: Path, body: str) -> None:
    (folder / "own.py").write_text(f"def own(prompt, first, second, seed, columns):\n    {body}\n")
    with pytest.raises(DataError, match=r"judge '.*own.py:own', prompt "):
        run(config(folder, "compare", True, judge={"name": f"{folder / 'own.py'}:own", "compares": True}))


@pytest.mark.parametrize("objective", ["pairwise", "pointwise"])
def test_bad_rows_can_be_left_out_and_are_counted(folder: Path, objective: str) -> None:
    with (folder / "rows.jsonl").open("a") as file:
        file.write('{"prompt_id": 5}\n[]\n')
    counts = run(config(folder, "sevens", False, objective=objective, bad_rows="skip"))
    assert (counts["completions"], counts["bad_rows"]) == (8, 2)


def test_what_is_read_is_not_written_over(folder: Path) -> None:
    with pytest.raises(ValidationError, match="is the file that is read"):
        config(folder, "compare", True, out=folder / "a.parquet", source=str(folder / "a.parquet"))
