"""Rewrites traces for a cold start: raw thought → readable thought → summary, and checks that the result is the same.

    rewriter = Rewriter(llm)
    rewriter.rewrite_all([Trace("What is 5+4?", "<think>5+4 hmm 9</think><answer>9</answer>", reference="9")])
    → ["<think>\\nI need to add 5 and 4 …\\n</think>\\n\\n… \\\\boxed{9}"], or NotRewritten(reason) in its place

R1 (2501.12948 v2, B.3) has people check the results. The check here is by rules: the final answer equals the
reference, or the one before; a program is the one before; the language is the question's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from data_recipes.rewriting.prompts import SHOTS, Shot, summary_request, thought_request
from rewards.llm.client import Llm
from rewards.llm.errors import LlmError, LlmRefused
from rewards.llm.types import Answer, Request
from rewards.math.accuracy import accuracy
from rewards.rows import RewardRow
from rewards.text.extract import after_reasoning, answer_text, reasoning_text
from rewards.text.language import word_counts

MIN_LANGUAGE_SHARE = 0.9
"""Share of a rewritten thought's words that are in the language of the question."""
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


class NotRewritten(ValueError):
    """A trace has no rewritten form; the message is the reason."""


@dataclass(frozen=True)
class Trace:
    """What is rewritten."""

    question: str
    completion: str
    """`<think>…</think>` and the answer, with or without `<answer>` tags."""
    reference: object = None
    """The right final answer, as reward `accuracy` reads it. None: the completion's own."""
    language: str | None = None
    """"en" or "zh"; None: not checked."""


class Rewriter:
    """Asks a model twice a trace.

    Args:
        llm: the model.
        shots: examples; people's own set the style.
        seed: of the model's samples.
    """

    def __init__(self, llm: Llm, shots: Sequence[Shot] = SHOTS, seed: int = 0) -> None:
        self._llm, self._shots, self._seed = llm, tuple(shots), seed

    def rewrite_all(self, traces: Sequence[Trace]) -> list[str | NotRewritten]:
        """Return the rewritten completions, in order; NotRewritten in the place of one that there is not.

        Raises:
            LlmError: the server is gone or the budget spent. What was answered is in the cache: the same call goes on.
        """
        found: list[str | NotRewritten] = [NotRewritten("the completion has no thought") for _ in traces]
        raw = {
            at: text for at, t in enumerate(traces) if (text := (reasoning_text(t.completion) or "").strip())
        }
        thoughts = self._texts(
            {
                at: thought_request(traces[at].question, text, self._shots, self._seed)
                for at, text in raw.items()
            },
            found,
        )
        for at in list(thoughts):
            if problem := _thought_problem(thoughts[at], traces[at]):
                found[at] = NotRewritten(problem)
                del thoughts[at]
        summaries = self._texts(
            {
                at: summary_request(traces[at].question, text, self._shots, self._seed)
                for at, text in thoughts.items()
            },
            found,
        )
        for at, summary in summaries.items():
            completion = f"<think>\n{thoughts[at]}\n</think>\n\n{summary}"
            problem = _result_problem(completion, traces[at])
            found[at] = NotRewritten(problem) if problem else completion
        return found

    def _texts(self, requests: dict[int, Request], found: list[str | NotRewritten]) -> dict[int, str]:
        """Return the usable answers by number; the reasons of the others are put into `found`."""
        texts: dict[int, str] = {}
        answers = self._llm.ask_all(list(requests.values()))
        for at, answer in zip(requests, answers, strict=True):
            text, problem = _text_of(answer)
            if problem:
                found[at] = NotRewritten(problem)
            else:
                texts[at] = text
        return texts


def _text_of(answer: Answer | LlmError) -> tuple[str, str]:
    if isinstance(answer, LlmRefused):  # a prompt that is too long, say: this trace alone
        return "", str(answer)
    if isinstance(answer, LlmError):
        raise answer
    text = after_reasoning(answer.text).strip()
    if answer.finish_reason == "length":
        return "", "the model's answer is cut at max_tokens"
    if not text:
        return "", "the model's answer is empty"
    if any(tag in text for tag in _TAGS):
        return "", "the model's answer contains a tag of the format"
    return text, ""


def _thought_problem(thought: str, trace: Trace) -> str:
    if trace.language is None:
        return ""
    counts = word_counts(thought)
    total = sum(counts.values())
    wanted = trace.language.lower().replace("_", "-").split("-")[0]
    if wanted not in counts or not total or counts[wanted] / total >= MIN_LANGUAGE_SHARE:
        return ""
    return f"the thought is not in the language of the question ({wanted})"


def _result_problem(completion: str, trace: Trace) -> str:
    """Return what has changed that must not, "" if nothing has."""
    before = after_reasoning(trace.completion)
    if programs := _BLOCK.findall(before):
        kept = _BLOCK.findall(after_reasoning(completion))
        return "" if kept and kept[-1].strip() == programs[-1].strip() else "the program has changed"
    reference = trace.reference if trace.reference is not None else answer_text(trace.completion)
    if reference is None:
        return ""  # nothing that a rule could compare: an essay, a conversation
    score = accuracy(RewardRow(completion=completion, prompt=trace.question, answer=reference))
    if score.verdict != "ok":
        return f"the final answer could not be compared: {score.reason}"
    return "" if score.total == 1 else f"the final answer is not {reference!r} any more"
