"""Reward `repetition`: −max_penalty · (1 − distinct n-grams / n-grams).

The idea is from "Demystifying Long CoT" (arXiv 2502.03373); the formula is the one that open-r1 uses. A word is a run
of letters or digits, a single Han character, or any other single character that is not white space.
"""

from __future__ import annotations

import re

from rewards.rows import RewardRow
from rewards.types import Score
from rewards.values import failed

_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+|[^\w\s]")


def repetition(row: RewardRow, ngram: int = 4, max_penalty: float = 1.0) -> Score:
    """Return a penalty from −max_penalty to 0; it is 0 for a completion shorter than one n-gram."""
    if ngram < 1 or max_penalty < 0:
        return failed("error", f"ngram = {ngram} must be 1 or more, max_penalty = {max_penalty} not negative")
    return Score(-max_penalty * repeated_share(row.completion, ngram))


def repeated_share(text: str, ngram: int) -> float:
    """Return the fraction (0 to 1) of n-grams that repeat an earlier one."""
    words = _TOKEN.findall(text.lower())
    grams = list(zip(*(words[shift:] for shift in range(ngram)), strict=False))
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0
