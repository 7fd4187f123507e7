"""`grpo curate`: files in, files out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from pydantic import ValidationError

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.prompts.rows import read_rows
from grpo.config.curate import CurateConfig
from grpo.stages.curate import run

GOOD = "<think>we add the two numbers</think><answer>7</answer>"


def row(name: str, **changes: Any) -> dict[str, Any]:
    base = {"id": f"{name}#0", "prompt_id": name, "prompt": f"{name}?", "completion": GOOD,
            "accuracy": 1.0, "language": "en", "kind": "reasoning", "model": "abc"}  # fmt: skip
    return base | changes


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def config(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> CurateConfig:
    source = write(folder / "samples.jsonl", rows)
    return CurateConfig.model_validate({"sources": (source,), "out": folder / "sft.parquet"} | changes)


def test_from_samples_to_training_rows(tmp_path: Path) -> None:
    mix = write(
        tmp_path / "mix.jsonl",
        [{"prompt": "hello", "completion": "hi", "kind": "general"}, {"prompt": "eval item", "completion": "x"},
         {"prompt": "over the limit", "completion": "x"}],
    )  # fmt: skip
    held_out = write(tmp_path / "eval.jsonl", [{"question": "eval item"}])
    rows = [
        row("a"),
        row("b", accuracy=0.0),
        row("c", completion="<think>we add the two numbers</think> 7"),
        row("d", finish_reason="length"),
    ]
    settings = config(
        tmp_path, rows, rewrite="r1-format",
        mix=[{"source": mix, "limit": 2}], decontaminate=[{"source": held_out}],
    )  # fmt: skip
    counts = run(settings)
    assert counts == {
        "samples": 4, "dropped": {"incorrect": 1, "not_rewritten": 1, "truncated": 1},
        "kept": 1, "mixed": 1, "mix_contaminated": 1,
    }  # fmt: skip
    assert json.loads((tmp_path / "sft.json").read_text()) == counts
    kept, mixed = parquet.read_table(tmp_path / "sft.parquet").to_pylist()
    assert kept == {
        "id": "a#0", "prompt": "a?", "messages": None, "tools": None, "question": None, "prefill": None,
        "completion": "<think>\nwe add the two numbers\n</think>\n\n\\boxed{7}",
        "kind": "reasoning", "language": "en", "source": None, "score": 1.0,
        "origin": f"{tmp_path.name}/samples.jsonl", "model": "abc",
    }  # fmt: skip
    assert (mixed["prompt"], mixed["completion"], mixed["kind"], mixed["score"]) == (
        "hello",
        "hi",
        "general",
        None,
    )
    first = (tmp_path / "sft.parquet").read_bytes()
    run(settings)
    assert (tmp_path / "sft.parquet").read_bytes() == first


def test_a_rewriter_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def shout(prompt, completion):\n    return prompt + completion.upper()\n"
    )
    run(config(tmp_path, [row("a")], rewrite=f"{tmp_path / 'own.py'}:shout"))
    assert parquet.read_table(tmp_path / "sft.parquet").to_pylist()[0]["completion"] == f"a?{GOOD.upper()}"


def test_what_a_rewriter_brings_in_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def leak(prompt, completion):\n    return 'the held out item'\n")
    held_out = write(tmp_path / "eval.jsonl", [{"question": "the held out item"}])
    settings = config(
        tmp_path, [row("a")], rewrite=f"{tmp_path / 'own.py'}:leak", decontaminate=[{"source": held_out}]
    )
    with pytest.raises(DataError, match="'contaminated': 1"):
        run(settings)
    assert not (tmp_path / "sft.parquet").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a"), row("a")], r"line 2: id 'a#0' comes twice"),
        ([row("a"), row("b", prompt=None)], r"line 2: prompt = None"),
        ([row("a", accuracy="yes")], r"line 1: accuracy = 'yes'"),
        ([row("a", accuracy=0.0)], r"'incorrect': 1"),
    ],
)
def test_errors_are_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(config(tmp_path, rows))


def test_words_in_front_of_every_question_that_are_evaluated_on_are_named(tmp_path: Path) -> None:
    """A worked example of the preamble stands in every prompt: one copy of an evaluation text drops all rows."""
    held_out = write(tmp_path / "eval.jsonl", [{"question": "has 4 eggs and buys 3 more of them today"}])
    shown = "Joe has 4 eggs and buys 3 more of them today. 7\n"
    rows = [row(name, question=name, prompt=shown + name) for name in ("a", "b")]
    words = "a#0 shares 'has 4 eggs and buys 3 more of them' with an evaluation text"
    with pytest.raises(DataError, match=words):
        run(config(tmp_path, rows, decontaminate=[{"source": held_out}], ngram=9))


def test_evaluation_sets_may_be_procedural_and_questions_are_kept(tmp_path: Path) -> None:
    _, held_out = next(read_rows(DatasetConfig(source="chain", split="held-out", params={"count": 5})))
    rows = [
        row("a", question="one and one", prompt="a?"),
        row("b", prompt=held_out["question"] + "?"),
    ]
    evaluation = {"source": "chain", "split": "held-out", "params": {"count": 5}}
    counts = run(config(tmp_path, rows, decontaminate=[evaluation]))
    assert counts["dropped"] == {"contaminated": 1}
    (kept,) = parquet.read_table(tmp_path / "sft.parquet").to_pylist()
    assert kept["question"] == "one and one"
    with pytest.raises(ValidationError, match="min_opz"):
        config(tmp_path, rows, decontaminate=[evaluation | {"params": {"min_opz": 2}}])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a"), row("b"), row("a")], r"line 3: id 'a#0' comes twice, first at .*line 1; give"),
        ([row("a", language=5)], r"line 1: language = 5; expected text or null"),
        ([row("a"), row("b", kind=["x"])], r"line 2: kind = \['x'\]; expected text or null"),
        ([row("a", prompt=" ")], r"line 1: prompt is empty"),
        ([row("a", id=1), row("b", id=2)], r"(?s)line 1: id = 1.*line 2: id = 2.*2 bad rows; fix"),
    ],
)
def test_every_bad_row_is_named_and_counted(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(config(tmp_path, rows))
    assert not (tmp_path / "sft.parquet").exists()


def test_a_row_that_is_added_must_be_a_training_row(tmp_path: Path) -> None:
    mix = write(
        tmp_path / "mix.jsonl", [{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": ""}]
    )
    with pytest.raises(DataError, match=r"mix.jsonl, line 2: completion = ''"):
        run(config(tmp_path, [row("a")], mix=[{"source": mix}]))
    run(config(tmp_path, [row("a")], mix=[{"source": mix, "limit": 1}]))


@pytest.mark.parametrize("body", ["return None", "return '  '", "return 1 / 0", "return completion.nothing"])
def test_a_rewriter_that_fails_is_named(tmp_path: Path, body: str) -> None:
    (tmp_path / "own.py").write_text(f"def own(prompt, completion):\n    {body}\n")
    with pytest.raises(DataError, match=r"rewrite = .*own.py:own', .*line 1: "):
        run(config(tmp_path, [row("a")], rewrite=f"{tmp_path / 'own.py'}:own"))


def test_an_evaluation_set_without_rows_holds_nothing_against_the_samples(tmp_path: Path) -> None:
    held_out = write(tmp_path / "eval.jsonl", [])
    with pytest.raises(DataError, match=r"eval.jsonl: no rows"):
        run(config(tmp_path, [row("a")], decontaminate=[{"source": held_out}]))


def test_rows_that_no_language_filter_has_seen_are_counted(tmp_path: Path) -> None:
    assert "language_unknown" not in run(config(tmp_path, [row("a")]))
    assert run(config(tmp_path, [row("a"), row("b", language=None)]))["language_unknown"] == 1


def test_the_result_is_the_same_in_every_run_directory(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name / "cold-samples"
        folder.mkdir(parents=True)
        run(config(folder, [row("a")]))
        made.append((folder / "sft.parquet").read_bytes())
    assert made[0] == made[1]


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    mix = write(tmp_path / "mix.jsonl", [{"prompt": "a", "completion": "b"}, {"prompt": "a"}])
    rows = [row("a"), row("b", id=3), row("a")]
    counts = run(config(tmp_path, rows, mix=[{"source": mix}], bad_rows="skip"))
    assert (counts["kept"], counts["mixed"], counts["bad_rows"]) == (1, 1, 3)
    held_out = write(tmp_path / "eval.jsonl", [{"question": None}])
    with pytest.raises(
        DataError, match=r"line 1: question = None; expected text"
    ):  # a question not read would pass
        run(config(tmp_path, rows, decontaminate=[{"source": held_out}], bad_rows="skip"))


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    for keys in ({"sources": ("a.parquet",)}, {"mix": ({"source": "a.parquet"},)}):
        with pytest.raises(ValidationError, match=r"out = 'a.parquet' is one of the files that are read"):
            CurateConfig.model_validate({"sources": ("b.jsonl",), "out": Path("a.parquet")} | keys)


def test_several_rewards_decide_each_over_its_kind(tmp_path: Path) -> None:
    rows = [
        row("a"),
        row("b", accuracy=None, code=1.0),
        row("c", accuracy=None, code=0.5),
        row("d", accuracy=None),
    ]
    counts = run(config(tmp_path, rows, correct=("accuracy", "code")))
    assert counts["kept"] == 2
    assert counts["dropped"] == {"incorrect": 1, "no_verdict": 1}
    scores = {r["id"]: r["score"] for r in parquet.read_table(tmp_path / "sft.parquet").to_pylist()}
    assert scores == {"a#0": 1.0, "b#0": 1.0}
    with pytest.raises(DataError, match="line 1: no column 'mcq' or 'judge'"):
        run(config(tmp_path, rows, correct=("mcq", "judge")))
    for none in ((), "", ("a", "a")):
        with pytest.raises(ValidationError, match="expected the name of a component"):
            config(tmp_path, rows, correct=none)
