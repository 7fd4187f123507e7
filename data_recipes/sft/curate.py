"""Selects training samples from scored samples and counts the others by the rule that dropped them.

samples ─▶ correct ─▶ readable ─▶ decontaminated ─▶ no duplicate ─▶ at most `per_prompt` of a prompt
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_recipes.sft.decontaminate import EvaluationGrams, shared_words
from data_recipes.sft.readability import ReadabilityLimits, unreadable


@dataclass(frozen=True)
class Sample:
    """A completion with its scores."""

    id: str
    """Name that is unique among the samples of one call."""
    prompt_id: str
    prompt: str
    completion: str
    """Prefill and generated text."""
    components: dict[str, float | None]
    """Scores by reward component; None if it abstained."""
    language: str | None = None
    is_truncated: bool = False
    question: str | None = None
    """The prompt without its template, if known; short questions of evaluation sets can only match this text."""


@dataclass(frozen=True)
class CurateRules:
    """The rules that a sample must pass."""

    correct: tuple[str, ...] = ("accuracy",)
    """Deciding reward components: all that did not abstain must pass; if all abstained, the sample is dropped."""
    min_score: float = 1.0
    limits: ReadabilityLimits = field(default_factory=ReadabilityLimits)
    per_prompt: int | None = 1
    """Most samples per prompt; None keeps all."""
    choose: Literal["first", "shortest", "random"] = "first"
    """Order of choice within a prompt: as given, by fewest characters, or by a hash of seed and id."""
    seed: int = 0


@dataclass(frozen=True)
class Curated:
    """The result; len(kept) + sum(dropped.values()) is the number of samples."""

    kept: tuple[Sample, ...]
    """Kept samples, in the order of the input."""
    dropped: dict[str, int]
    """Numbers of dropped samples, by the first rule that dropped them."""
    leak: str = ""
    """The first contaminated sample's id, and the words that it shares with an evaluation text; "" if there is none."""


def curate(
    samples: Sequence[Sample], rules: CurateRules, evaluation: EvaluationGrams | None = None
) -> Curated:
    """Apply the rules to samples.

    Raises:
        ValueError: two samples have the same id, or per_prompt < 1.
    """
    if rules.per_prompt is not None and rules.per_prompt < 1:
        raise ValueError(f"per_prompt = {rules.per_prompt} must be 1 or more")
    twice = [name for name, count in Counter(s.id for s in samples).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} sample ids occur twice, the first is {twice[0]!r}")
    dropped: Counter[str] = Counter()
    passed: list[Sample] = []
    leak = ""
    seen: set[tuple[str, str]] = set()
    for sample in samples:
        reason = _reason(sample, rules, evaluation)
        if reason is None and (sample.prompt, sample.completion) in seen:
            reason = "duplicate"
        if reason is None:
            seen.add((sample.prompt, sample.completion))
            passed.append(sample)
        else:
            dropped[reason] += 1
        if reason == "contaminated" and evaluation is not None and not leak:
            leak = f"{sample.id} shares {_shared(sample, evaluation)!r} with an evaluation text"
    chosen = _chosen(passed, rules)
    over = len(passed) - len(chosen)
    if over:
        dropped["per_prompt"] = over
    return Curated(tuple(s for s in passed if s.id in chosen), dict(sorted(dropped.items())), leak)


def r1_format(completion: str) -> str:
    """Rewrite `<think>…</think><answer>…</answer>` as `<think>…</think>` and the answer in a box (rule `r1-format`).

    Rewards find an answer by its tags or its box. Without the box, what is learnt from the row could not be scored. An
    answer with a box or a block of code stays as it is.

    Raises:
        ValueError: the completion has another form, or the answer fits into no box; the caller counts it as not
            rewritten.
    """
    text = completion.strip()
    head, closing, tail = text.partition("</think>")
    tail = tail.strip()
    whole = head.startswith("<think>") and closing and "<think>" not in head[len("<think>") :]
    if not (whole and tail.startswith("<answer>") and tail.endswith("</answer>")):
        raise ValueError("not <think>…</think><answer>…</answer>")
    answer = tail[len("<answer>") : -len("</answer>")]
    if not answer.strip() or any(tag in answer for tag in ("<think>", "</think>", "<answer>", "</answer>")):
        raise ValueError("the answer is empty or contains a tag")
    return f"<think>\n{head[len('<think>') :].strip()}\n</think>\n\n{_summary(answer.strip())}"


def _summary(answer: str) -> str:
    if "\\boxed" in answer or "```" in answer:
        return answer
    bare = answer.replace("\\{", "").replace("\\}", "")
    if "\n" in answer or bare.count("{") != bare.count("}"):
        raise ValueError("the answer has several lines or unbalanced braces, and no box")
    return f"\\boxed{{{answer}}}"


def _reason(sample: Sample, rules: CurateRules, evaluation: EvaluationGrams | None) -> str | None:
    scores = verdicts(sample, rules.correct)
    if not scores:
        return "no_verdict"
    if not all(score >= rules.min_score for score in scores):  # also NaN
        return "incorrect"
    if sample.is_truncated:
        return "truncated"
    reason = unreadable(sample.completion, sample.language, rules.limits)
    if reason is not None:
        return reason
    if evaluation is not None and _shared(sample, evaluation) is not None:
        return "contaminated"
    return None


def _shared(sample: Sample, evaluation: EvaluationGrams) -> str | None:
    """Return the first words that a sample shares with an evaluation text; None if there are none."""
    texts = (sample.prompt, sample.question, sample.completion)
    found = (shared_words(text, evaluation) for text in texts if text is not None)
    return next((words for words in found if words is not None), None)


def verdicts(sample: Sample, names: Iterable[str]) -> list[float]:
    """Return the scores of those components that did not abstain."""
    return [value for name in names if (value := sample.components.get(name)) is not None]


def _chosen(passed: Iterable[Sample], rules: CurateRules) -> set[str]:
    by_prompt: dict[str, list[Sample]] = {}
    for sample in passed:
        by_prompt.setdefault(sample.prompt_id, []).append(sample)
    chosen: set[str] = set()
    for samples in by_prompt.values():
        if rules.choose == "shortest":
            samples.sort(key=lambda s: len(s.completion))
        elif rules.choose == "random":
            samples.sort(key=lambda s: hashlib.sha256(f"{rules.seed}/{s.id}".encode()).digest())
        chosen.update(s.id for s in samples[: rules.per_prompt])
    return chosen
