"""The rewriter against a scripted model: what it asks, and what it takes no model's word for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_recipes.rewriting.prompts import SHOTS, Shot
from data_recipes.rewriting.rewriter import NotRewritten, Rewriter, Trace
from rewards.llm.client import Llm
from rewards.llm.config import LlmConfig
from rewards.llm.errors import LlmError
from tests.scripted_llm import MODEL, Script, Step, raw, say, scripted_server

PROGRAM = "```python\nprint(sum(map(int, input().split())))\n```"
SUM = Trace("What is 5+4?", "<think>5+4 hmm 9</think> <answer>9</answer>", reference="9", language="en")


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def llm(script: Script, tmp_path: Path) -> Iterator[Llm]:
    with Llm(LlmConfig(url=script.url, model=MODEL, cache=tmp_path, attempts=1)) as llm:
        yield llm


def answering(thought: str | Step, summary: str | Step) -> Any:
    def answer(sent: dict[str, Any]) -> Step:
        chosen = thought if "## Notes" in sent["messages"][-1]["content"] else summary
        return say(chosen) if isinstance(chosen, str) else chosen

    return answer


def test_the_thought_is_rewritten_and_then_summarised(script: Script, llm: Llm) -> None:
    script.answer = answering("I add five and four and get 9.", "The sum is \\boxed{9}.")
    shot = Shot("q?", "raw notes", "my thought", "my summary")
    found = Rewriter(llm, shots=(shot,), seed=5).rewrite_all([SUM])
    assert found == ["<think>\nI add five and four and get 9.\n</think>\n\nThe sum is \\boxed{9}."]
    first, second = ([(m["role"], m["content"]) for m in sent["messages"]] for sent in script.asked)
    assert first[1:] == [
        ("user", "## Question\nq?\n\n## Notes\nraw notes"),
        ("assistant", "my thought"),
        ("user", "## Question\nWhat is 5+4?\n\n## Notes\n5+4 hmm 9"),
    ]
    assert second[1:] == [
        ("user", "## Question\nq?\n\n## Thought\nmy thought"),
        ("assistant", "my summary"),
        ("user", "## Question\nWhat is 5+4?\n\n## Thought\nI add five and four and get 9."),
    ]
    assert {sent["seed"] for sent in script.asked} == {5}


@pytest.mark.parametrize(
    ("thought", "summary", "reason"),
    [
        ("I get 9.", "The sum is \\boxed{8}.", "the final answer is not '9'"),
        ("I get 9.", "The sum is nine indeed.", "the final answer is not '9'"),
        ("I get 9.", "", "empty"),
        ("", "\\boxed{9}", "empty"),
        ("<think>it never ends", "\\boxed{9}", "empty"),
        ("I <answer>9</answer>", "\\boxed{9}", "tag of the format"),
        ("I get 9.", "<answer>9</answer>", "tag of the format"),
        ("我把五和四相加，得到九。", "\\boxed{9}", "not in the language"),
        (say("I get", "length"), "\\boxed{9}", "max_tokens"),
        (raw(b'{"error": "too long"}', 400), "\\boxed{9}", "too long"),
    ],
)
def test_what_a_model_breaks_is_left_out_with_the_reason(
    script: Script, llm: Llm, thought: str | Step, summary: str, reason: str
) -> None:
    script.answer = answering(thought, summary)
    (found,) = Rewriter(llm).rewrite_all([SUM])
    assert isinstance(found, NotRewritten)
    assert reason in str(found)


def test_a_model_that_thinks_aloud_first_is_read_after_its_thought(script: Script, llm: Llm) -> None:
    script.answer = answering(
        "<think>how to edit</think>I get nine.", "<think>hm</think>It is $\\boxed{9.0}$."
    )
    (found,) = Rewriter(llm).rewrite_all([SUM])
    assert found == "<think>\nI get nine.\n</think>\n\nIt is $\\boxed{9.0}$."


def test_without_a_reference_the_final_answer_is_that_of_before(script: Script, llm: Llm) -> None:
    traces = [Trace("What?", f"<think>{n}</think>so \\boxed{{{n}}}", language="en") for n in ("9", "10")]
    script.answer = answering("I found it.", "Thus \\boxed{9}.")
    right, wrong = Rewriter(llm).rewrite_all(traces)
    assert isinstance(right, str)
    assert isinstance(wrong, NotRewritten)


def test_a_program_stays_as_it_was(script: Script, llm: Llm) -> None:
    trace = Trace("Add the numbers.", f"<think>read, add</think>{PROGRAM}")
    script.answer = answering("I read and add.", f"Read, then add:\n\n{PROGRAM}")
    assert isinstance(Rewriter(llm).rewrite_all([trace])[0], str)
    script.answer = answering("I read and add.", f"Read, then add:\n\n{PROGRAM.replace('sum', 'max')}")
    (found,) = Rewriter(llm, seed=1).rewrite_all([trace])
    assert "program has changed" in str(found)


def test_a_completion_without_a_thought_asks_for_nothing(script: Script, llm: Llm) -> None:
    (found,) = Rewriter(llm).rewrite_all([Trace("What?", "just \\boxed{9}")])
    assert "no thought" in str(found)
    assert script.asked == []


def test_a_server_that_fails_stops_the_work_and_the_next_run_goes_on(
    script: Script, llm: Llm, tmp_path: Path
) -> None:
    script.answer = answering("I get 9.", raw(b"", 500))
    with pytest.raises(LlmError):
        Rewriter(llm).rewrite_all([SUM])
    script.answer = answering(raw(b"", 500), "\\boxed{9}")
    assert Rewriter(llm).rewrite_all([SUM]) == ["<think>\nI get 9.\n</think>\n\n\\boxed{9}"]


def test_the_shipped_examples_keep_their_own_rules(script: Script, llm: Llm) -> None:
    by_thought = {shot.raw: shot.thought for shot in SHOTS}
    by_summary = {shot.thought: shot.summary for shot in SHOTS}

    def answer(sent: dict[str, Any]) -> Step:
        last = sent["messages"][-1]["content"]
        return say(
            (by_thought | by_summary)[last.partition("## Notes\n")[2] or last.partition("## Thought\n")[2]]
        )

    script.answer = answer
    traces = [
        Trace(s.question, f"<think>{s.raw}</think>{s.summary}", language=language)
        for s, language in zip(SHOTS, ("en", "zh"), strict=True)
    ]
    assert [type(found) for found in Rewriter(llm).rewrite_all(traces)] == [str, str]
