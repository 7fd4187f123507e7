"""From scored samples to training samples: which are kept, and why the others are not. Pure.

samples ─▶ correct ─▶ readable ─▶ decontaminated ─▶ no duplicate ─▶ at most `per_prompt` of a prompt
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from data_recipes.sft.decontaminate import EvaluationGrams, is_contaminated
from data_recipes.sft.readability import ReadabilityLimits, unreadable


@dataclass(frozen=True)
class Sample:
    """A completion with its scores."""

    id: str
    """Unique among the samples that are curated together."""
    prompt_id: str
    prompt: str
    completion: str
    """Prefill and generated text."""
    components: dict[str, float | None]
    """Reward components; None: abstained."""
    language: str | None = None
    is_truncated: bool = False
    question: str | None = None
    """The prompt without its template, if it is known: a short question of an evaluation set is found there alone."""


@dataclass(frozen=True)
class CurateRules:
    """What a sample must pass."""

    correct: tuple[str, ...] = ("accuracy",)
    """Reward components that decide: all that have a verdict must pass; without any, the sample is not correct."""
    min_score: float = 1.0
    limits: ReadabilityLimits = field(default_factory=ReadabilityLimits)
    per_prompt: int | None = 1
    """Most samples kept of a prompt; None keeps all."""
    choose: Literal["first", "shortest", "random"] = "first"
    """Which: lowest id order as given, fewest characters, or by a hash of seed and id."""
    seed: int = 0


@dataclass(frozen=True)
class Curated:
    """The result; len(kept) + sum(dropped.values()) is the number of samples."""

    kept: tuple[Sample, ...]
    """In the order of the input."""
    dropped: dict[str, int]
    """Samples by the first rule that dropped them."""


def curate(
    samples: Sequence[Sample], rules: CurateRules, evaluation: EvaluationGrams | None = None
) -> Curated:
    """Apply the rules.

    Raises:
        ValueError: two samples with one id, or per_prompt < 1.
    """
    if rules.per_prompt is not None and rules.per_prompt < 1:
        raise ValueError(f"per_prompt = {rules.per_prompt} must be 1 or more")
    twice = [name for name, count in Counter(s.id for s in samples).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} sample ids come twice, the first is {twice[0]!r}")
    dropped: Counter[str] = Counter()
    passed: list[Sample] = []
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
    chosen = _chosen(passed, rules)
    over = len(passed) - len(chosen)
    if over:
        dropped["per_prompt"] = over
    return Curated(tuple(s for s in passed if s.id in chosen), dict(sorted(dropped.items())))


def r1_format(completion: str) -> str:
    """Apply the rule `r1-format`: turn `<think>…</think><answer>…</answer>` into `<think>…</think>` and a summary.

    Raises:
        ValueError: the completion has not that form; the caller counts it as not rewritten.
    """
    text = completion.strip()
    head, closing, tail = text.partition("</think>")
    tail = tail.strip()
    whole = head.startswith("<think>") and closing and "<think>" not in head[len("<think>") :]
    if not (whole and tail.startswith("<answer>") and tail.endswith("</answer>")):
        raise ValueError("not <think>…</think><answer>…</answer>")
    answer = tail[len("<answer>") : -len("</answer>")]
    if not answer.strip() or any(tag in answer for tag in ("<think>", "</think>", "<answer>", "</answer>")):
        raise ValueError("the answer is empty or holds a tag")
    return f"<think>\n{head[len('<think>') :].strip()}\n</think>\n\n{answer.strip()}"


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
    if evaluation is not None and any(
        is_contaminated(text, evaluation)
        for text in (sample.prompt, sample.question, sample.completion)
        if text is not None
    ):
        return "contaminated"
    return None


def verdicts(sample: Sample, names: Iterable[str]) -> list[float]:
    """Return the values of those named components that did not abstain."""
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
