"""A graph says which evaluation sets were not compared with what it trains on."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from grpo.cli import app
from grpo.graph.contamination import uncompared
from grpo.graph.parse import load_graph

GRAPH = """
[graph]
run_dir = "out"

[stages.clean]
command = "decontaminate"
[stages.clean.set]
sources = ["train.jsonl"]
against = [{ source = "held-out.jsonl", fields = ["problem"] }]

[stages.zero]
command = "rl"
[stages.zero.set]
steps = 2
"policy.model" = "./base"
"data.source" = "SOURCE"
"eval.data.source" = "held-out.jsonl"
rewards = [{ name = "accuracy" }]

[stages.drawn]
command = "sample"
[stages.drawn.set]
"policy.model" = "{zero.policy}"
"data.source" = "SOURCE"
samples = 2
rewards = [{ name = "accuracy" }]

[stages.kept]
command = "curate"
[stages.kept.set]
sources = ["{drawn.samples}"]
AGAINST

[stages.taught]
command = "sft"
[stages.taught.set]
max_tokens = 128
batch_size = 4
epochs = 1
"policy.model" = "./base"
"data.source" = "{kept.rows}"
"""


def lines(folder: Path, source: str, against: str = "") -> list[str]:
    path = folder / "own.toml"
    path.write_text(GRAPH.replace("SOURCE", source).replace("AGAINST", against))
    return uncompared(load_graph(str(path)))


def test_every_evaluation_set_of_r1_is_compared_with_every_training_source() -> None:
    assert uncompared(load_graph("r1")) == []


def test_without_the_comparison_r1_names_each_source_and_the_stages_it_reaches() -> None:
    found = uncompared(
        load_graph("r1", ["clean-reasoning.against=[{source='HuggingFaceH4/aime_2024', split='train'}]"])
    )
    (line,) = found
    assert "HuggingFaceH4/MATH-500 is evaluated but not compared with data/reasoning.parquet" in line
    assert "zero, dev2" in line
    assert "dev3" not in line  # its rows pass a stage `curate` that compares them


def test_rows_are_followed_through_sampling_and_curating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert lines(tmp_path, "{clean.rows}") == []
    (line,) = lines(tmp_path, "train.jsonl")
    assert line == (
        "held-out.jsonl is evaluated but not compared with train.jsonl, on which zero, taught train; put a stage "
        "`decontaminate` between"
    )
    (line,) = lines(tmp_path, "train.jsonl", 'decontaminate = [{ source = "held-out.jsonl" }]')
    assert "on which zero trains" in line


def test_procedural_problems_need_no_comparison() -> None:
    assert uncompared(load_graph("r1-tiny")) == []


def test_run_prints_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("train.jsonl", "held-out.jsonl"):
        (tmp_path / name).write_text('{"question": "1 + 1", "answer": "2"}\n')
    (tmp_path / "base").mkdir()
    lines(tmp_path, "train.jsonl")
    done = CliRunner().invoke(app, ["run", "own.toml", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "note held-out.jsonl is evaluated but not compared with train.jsonl" in " ".join(
        done.output.split()
    )
