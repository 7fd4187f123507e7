"""`grpo pairs` and `grpo curate` with a language model behind a scripted server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from pydantic import ValidationError

from data_recipes.errors import DataError
from grpo.common.errors import ConfigError
from grpo.config.curate import CurateConfig
from grpo.config.pairs import PairsConfig
from grpo.stages import curate, pairs
from tests.scripted_llm import MODEL, Script, Step, raw, say, scripted_server

REPLIES = {"p": ["good", "bad"], "q": ["bad", "worse"], "r": ["good", "left"], "s": ["good", "mute"]}
QUALITY = {"good": 2, "bad": 1, "worse": 0}


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def llm(script: Script, tmp_path: Path) -> dict[str, Any]:
    return {"url": script.url, "cache": str(tmp_path / "llm"), "attempts": 1}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def compare(sent: dict[str, Any]) -> Step:
    """Prefer the better word; A beside "left", whatever B is; say nothing of "mute"."""
    text = sent["messages"][-1]["content"]
    first, second = (re.search(rf"## Reply {name}\n<.*>\n(\w+)", text)[1] for name in "AB")  # type: ignore[index]
    assert "secret thought" not in text
    if "mute" in (first, second):
        return say("I cannot decide.")
    gap = 2 if "left" in (first, second) else QUALITY[first] - QUALITY[second]
    label = {2: "A>>B", 1: "A>B", 0: "A=B", -1: "B>A", -2: "B>>A"}[max(-2, min(2, 2 * gap))]
    return say(f"My own reply … and so [[{label}]]")


def pairs_config(tmp_path: Path, llm: dict[str, Any], **judge: Any) -> PairsConfig:
    rows = [
        {"prompt_id": p, "prompt": f"<|user|>{p}?", "question": f"{p}?",
         "completion": f"<think>secret thought</think>{t}"}
        for p, texts in REPLIES.items()
        for t in texts
    ]  # fmt: skip
    return PairsConfig.model_validate(
        {
            "source": write(tmp_path / "rows.jsonl", rows),
            "out": tmp_path / "pairs.parquet",
            "judge": {"name": "pairwise", "compares": True, "llm": llm, **judge},
            "max_length_ratio": None,
        }
    )


def test_a_model_compares_each_pair_four_times_in_both_orders(
    script: Script, llm: dict[str, Any], tmp_path: Path
) -> None:
    script.answer = compare
    counts = pairs.run(pairs_config(tmp_path, llm))
    rows = parquet.read_table(tmp_path / "pairs.parquet").to_pylist()
    assert {(row["chosen"][-4:], row["rejected"][-4:], row["margin"]) for row in rows} == {
        ("good", ">bad", 2.0), (">bad", "orse", 2.0),
    }  # fmt: skip
    assert (counts["order"], counts["unjudged"], counts["kept"]) == (1, 1, 2)
    assert (
        len(script.asked) == len({json.dumps(sent) for sent in script.asked}) == 3 * 4 + 2
    )  # one order without a verdict is enough
    before = (tmp_path / "pairs.parquet").read_bytes()
    pairs.run(pairs_config(tmp_path, llm))
    assert len(script.asked) == 14
    assert (tmp_path / "pairs.parquet").read_bytes() == before


def test_a_stage_that_lost_its_server_goes_on_where_it_was(
    script: Script, llm: dict[str, Any], tmp_path: Path
) -> None:
    script.answer = lambda sent: compare(sent) if len(script.asked) <= 5 else raw(b"gone", 503)
    with pytest.raises(DataError, match=r"judge 'pairwise'.*503.*gone"):
        pairs.run(pairs_config(tmp_path, llm | {"concurrency": 1}))
    assert not (tmp_path / "pairs.parquet").exists()
    kept = len(list((tmp_path / "llm").glob("??/*.json")))
    assert kept == 5
    script.answer, script.asked = compare, []
    assert pairs.run(pairs_config(tmp_path, llm))["kept"] == 2
    assert len(script.asked) == 14 - kept


@pytest.mark.parametrize("word", ["safe", "unsafe"])
def test_a_model_labels_completions(script: Script, llm: dict[str, Any], tmp_path: Path, word: str) -> None:
    script.answer = lambda sent: say(f'{{"analysis": "", "safety": "{word}"}}')
    config = pairs_config(tmp_path, llm, name="judge_safety", compares=False)
    counts = pairs.run(config.model_copy(update={"objective": "pointwise"}))
    assert (counts["label_1"], counts["label_0"]) == ((8, 0) if word == "safe" else (0, 8))


def test_labels_are_not_left_out_because_a_server_failed(
    script: Script, llm: dict[str, Any], tmp_path: Path
) -> None:
    script.answer = lambda sent: raw(b"busy", 503) if "worse" in str(sent) else say('{"safety": "safe"}')
    config = pairs_config(tmp_path, llm, name="judge_safety", compares=False)
    with pytest.raises(DataError, match=r"no answer on \d of 8 completions.*busy"):
        pairs.run(config.model_copy(update={"objective": "pointwise"}))


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ({"llm": None}, "needs a model"),
        ({"compares": False}, "set compares = true"),
        ({"params": {"votes": 3}}, "has no parameter votes"),
    ],
)
def test_a_judge_that_cannot_work_is_refused(
    llm: dict[str, Any], tmp_path: Path, judge: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        pairs_config(tmp_path, **({"llm": llm} | judge))


def test_a_server_that_is_not_there_is_found_before_the_first_question(
    llm: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="grpo serve"):
        pairs.run(pairs_config(tmp_path, llm | {"url": "http://127.0.0.1:9/v1"}))
    with pytest.raises(ConfigError, match=f"offers {MODEL}; set model"):
        pairs.run(pairs_config(tmp_path, llm | {"model": "another"}))


def curate_config(tmp_path: Path, llm: dict[str, Any], **changes: Any) -> CurateConfig:
    rows = [
        {"id": str(n), "prompt_id": str(n), "prompt": f"<|user|>What is {n}+1?", "question": f"What is {n}+1?",
         "completion": f"<think>raw {n}</think><answer>{n + 1}</answer>", "answer": str(n + 1), "accuracy": 1.0,
         "language": "en"}
        for n in range(3)
    ]  # fmt: skip
    base: dict[str, Any] = {
        "sources": [write(tmp_path / "samples.jsonl", rows)],
        "out": tmp_path / "rows.parquet",
    }
    return CurateConfig.model_validate(
        base | {"rewrite": "cold-start", "llm": llm, "min_language_share": False} | changes
    )


def rewrite(sent: dict[str, Any]) -> Step:
    text = sent["messages"][-1]["content"]
    number = int(re.search(r"What is (\d)\+1", text)[1])  # type: ignore[index]
    result = number + 1 if number != 1 else 7
    return say("I add one." if "## Notes" in text else f"It is \\boxed{{{result}}}.")


def test_a_model_rewrites_the_samples_and_rules_check_it(
    script: Script, llm: dict[str, Any], tmp_path: Path
) -> None:
    script.answer = rewrite
    shots = write(tmp_path / "shots.jsonl", [{"question": "q", "raw": "r", "thought": "t", "summary": "s"}])
    counts = curate.run(curate_config(tmp_path, llm, rewrite_examples=shots))
    rows = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["completion"] for row in rows] == [
        f"<think>\nI add one.\n</think>\n\nIt is \\boxed{{{n + 1}}}." for n in (0, 2)
    ]
    assert counts["dropped"] == {"not_rewritten": 1}
    assert [m["content"] for m in script.asked[0]["messages"][1:3]] == ["## Question\nq\n\n## Notes\nr", "t"]


def test_examples_without_their_rewriter_are_refused(llm: dict[str, Any], tmp_path: Path) -> None:
    config = curate_config(tmp_path, llm).model_copy(
        update={"rewrite": "r1-format", "llm": None, "rewrite_examples": tmp_path / "shots.jsonl"}
    )
    with pytest.raises(ConfigError, match="rewrite_examples is read with"):
        curate.run(config)


def test_a_dry_run_asks_nothing(script: Script, llm: dict[str, Any], tmp_path: Path) -> None:
    curate.preview(curate_config(tmp_path, llm))
    pairs.preview(pairs_config(tmp_path, llm))
    assert script.asked == []
    bad = write(tmp_path / "shots.jsonl", [{"question": "q", "raw": "r", "thought": "t"}])
    with pytest.raises(DataError, match=r"shots\.jsonl.*summary = None"):
        curate.preview(curate_config(tmp_path, llm, rewrite_examples=bad))


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"llm": None}, "needs a model"), ({"rewrite": "r1-format"}, 'with rewrite = "cold-start" only')],
)
def test_a_rewriter_that_cannot_work_is_refused(
    llm: dict[str, Any], tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        curate_config(tmp_path, **({"llm": llm} | changes))
