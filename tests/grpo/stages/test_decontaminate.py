"""`grpo decontaminate`: rows of any shape in, and out again but for those that share text with an evaluation set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from data_recipes.errors import DataError
from data_recipes.sft.decontaminate import words
from grpo.config.decontaminate import DecontaminateConfig
from grpo.stages.decontaminate import STAGE, run, sort_rows

QUESTION = "Natalia sold clips to 48 of her friends in April, and then half as many in May."
OTHER = "A train leaves the station at noon and travels north at sixty miles an hour until four."


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def config(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> DecontaminateConfig:
    held_out = write(folder / "eval.jsonl", [{"question": QUESTION}])
    given: dict[str, Any] = {
        "sources": (write(folder / "rows.jsonl", rows),),
        "out": folder / "out" / "clean.parquet",
        "against": [{"source": held_out}],
    }
    return DecontaminateConfig.model_validate(given | changes)


SHAPES = {
    "a prompt for RL": lambda text: {"question": text, "answer": "72"},
    "messages": lambda text: {"messages": [{"role": "user", "content": text}], "answer": "72"},
    "a prompt of messages": lambda text: {"prompt": [{"role": "user", "content": text}]},
    "an example": lambda text: {"prompt": "Solve.", "completion": f"<think>{text}</think> 72"},
    "a pair": lambda text: {"prompt": "Solve.", "chosen": "72", "rejected": f"Well: {text}"},
    "Alpaca": lambda text: {"instruction": "Solve.", "input": text, "output": "72"},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_row_of_any_shape_that_shares_ten_words_is_left_out_and_the_others_stay_as_they_were(
    shape: Any, tmp_path: Path
) -> None:
    copied, own = shape(f"Hard one. {QUESTION.upper()} How many?"), shape(OTHER)
    cleaned = config(tmp_path, [own, copied])
    assert run(cleaned) == {"rows": 2, "kept": 1, "dropped": {"eval.jsonl": 1}}
    assert parquet.read_table(cleaned.out).to_pylist() == [own]
    (entry,) = map(json.loads, cleaned.out.with_suffix(".dropped.jsonl").read_text().splitlines())
    assert entry["where"].endswith("rows.jsonl, line 2")
    assert entry["words"] == "natalia sold clips to 48 of her friends in april"
    assert QUESTION.upper() in entry["text"]


def test_the_graph_finds_the_files_where_the_stage_leaves_them(tmp_path: Path) -> None:
    cleaned = config(tmp_path, [{"question": OTHER}], out=tmp_path / STAGE.outputs["rows"])
    run(cleaned)
    assert all((tmp_path / name).exists() for name in STAGE.outputs.values())
    assert STAGE.key_figure({"rows": 1200, "kept": 1197}) == "left out 3 of 1,200"


def test_each_set_is_named_with_what_it_took(tmp_path: Path) -> None:
    second = write(tmp_path / "second.jsonl", [{"problem": "short one", "solution": OTHER}])
    rows = [
        {"question": QUESTION},
        {"question": OTHER},
        {"question": "Short one!"},
        {"question": "a short one"},
    ]
    against = [
        {"source": str(tmp_path / "eval.jsonl")},
        {"source": second, "fields": ["problem", "solution"]},
    ]
    assert run(config(tmp_path, rows, against=against)) == {
        "rows": 4,
        "kept": 1,
        "dropped": {"eval.jsonl": 1, "second.jsonl": 2},
    }


def test_fields_restrict_what_is_compared(tmp_path: Path) -> None:
    rows = [{"question": OTHER, "extra": {"note": QUESTION}}]
    assert sort_rows(config(tmp_path, rows, fields=["question"])).counts()["kept"] == 1
    assert sort_rows(config(tmp_path, rows, fields=["extra.note"])).counts()["kept"] == 0
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1: no field 'quest'.*did you mean question"):
        run(config(tmp_path, rows, fields=["quest"]))


@given(st.lists(st.sampled_from("a b c d e".split()), min_size=0, max_size=14), st.integers(2, 5))
@settings(max_examples=60)
def test_what_stays_shares_no_run_of_words(
    tmp_path_factory: pytest.TempPathFactory, letters: list[str], n: int
) -> None:
    folder = tmp_path_factory.mktemp("clean")
    held_out = "a b c a d e b"
    text = " ".join(letters)
    kept = sort_rows(
        config(
            folder,
            [{"question": text}],
            ngram=n,
            against=[{"source": write(folder / "e.jsonl", [{"question": held_out}])}],
        )
    ).counts()["kept"]
    shared = any(f" {' '.join(letters[i : i + n])} " in f" {held_out} " for i in range(len(letters) - n + 1))
    assert (kept == 0) == shared
    assert words(text) == letters


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row is left.*'eval\.jsonl': 1"):
        run(config(tmp_path, [{"question": QUESTION}]))
    with pytest.raises(DataError, match=r"column 'answer' cannot be written"):
        run(config(tmp_path, [{"question": OTHER, "answer": "5"}, {"question": "other", "answer": 5}]))
    assert not (tmp_path / "out").exists()
    against = [{"source": write(tmp_path / "e.jsonl", [{"question": "x"}]), "fields": ["problem"]}]
    with pytest.raises(
        DataError, match=r"e\.jsonl, line 1: problem = None; expected text \(fields names other"
    ):
        run(config(tmp_path, [{"question": OTHER}], against=against))
    with pytest.raises(ValueError, match="is one of the files that are read"):
        config(tmp_path, [], out=tmp_path / "x.parquet", sources=[str(tmp_path / "x.parquet")])
