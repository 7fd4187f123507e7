"""Filters of rejection sampling for completions that are hard to read.

R1 (stage 4, rejection sampling) drops chains of thought with mixed languages, long paragraphs and code blocks, and its
cold start also drops repetition. The paper gives no thresholds; the defaults are this project's.
"""

from __future__ import annotations

from dataclasses import dataclass

from rewards.text.extract import reasoning_text
from rewards.text.language import word_counts
from rewards.text.repetition import repeated_share


@dataclass(frozen=True)
class ReadabilityLimits:
    """Limits beyond which a completion counts as unreadable; None disables a filter."""

    min_language_share: float | None = 0.9
    """Smallest fraction of reasoning words in the language of the prompt, 0 … 1."""
    max_paragraph_words: int | None = 300
    """Most words in a paragraph of the reasoning; paragraphs end at an empty line."""
    allow_code: bool = False
    """True if the reasoning may contain fenced code."""
    max_repeated_share: float | None = 0.5
    """Largest fraction of the completion's 4-grams that repeat an earlier one."""
    needs_reasoning: bool = True
    """False keeps completions without reasoning; of the filters only repetition looks at those."""


def unreadable(completion: str, language: str | None, limits: ReadabilityLimits) -> str | None:
    """Return the name of the first filter that drops the completion; None keeps it.

    Asked in this order: no_reasoning, mixed_language, long_paragraph, code_block, repetition.

    Args:
        completion: prefill and generated text, `<think>…</think>…`.
        language: en or zh (also en-US, …); None or another one leaves the
            language filter out. Reasoning without any word is no mixture.
        limits: thresholds.
    """
    reasoning = reasoning_text(completion)
    if reasoning is None and limits.needs_reasoning:
        return "no_reasoning"
    reason = None if reasoning is None else _unreadable_reasoning(reasoning, language, limits)
    if reason is not None:
        return reason
    if limits.max_repeated_share is not None and repeated_share(completion, 4) > limits.max_repeated_share:
        return "repetition"
    return None


def _unreadable_reasoning(reasoning: str, language: str | None, limits: ReadabilityLimits) -> str | None:
    counts = word_counts(reasoning)
    total = sum(counts.values())
    target = (language or "").lower().replace("_", "-").split("-")[0]  # en-US is en, as in the reward
    share = counts[target] / total if target in ("en", "zh") and total else 1.0
    if limits.min_language_share is not None and share < limits.min_language_share:
        return "mixed_language"
    if limits.max_paragraph_words is not None and longest_paragraph(reasoning) > limits.max_paragraph_words:
        return "long_paragraph"
    if not limits.allow_code and "```" in reasoning:
        return "code_block"
    return None


def longest_paragraph(text: str) -> int:
    """Return the number of words of the longest paragraph; each Han character is one word."""
    paragraphs = [[]] if not text.strip() else _paragraphs(text)
    return max(sum(word_counts(line).values()) for line in (" ".join(p) for p in paragraphs))


def _paragraphs(text: str) -> list[list[str]]:
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    return paragraphs
