"""Reward `repetition`: −max_penalty · (1 − distinct n-grams / n-grams), as in "Demystifying Long CoT" (2502.03373),
in the form that open-r1 uses. Words are runs of letters or digits, each Han character one word, any
other sign by itself.
"""

from __future__ import annotations

import re

from rewards.rows import RewardRow
from rewards.types import Score
from rewards.values import failed

_TOKEN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+|[^\w\s]")


def repetition(row: RewardRow, ngram: int = 4, max_penalty: float = 1.0) -> Score:
    """−max_penalty … 0; 0 for a completion shorter than one n-gram."""
    if ngram < 1 or max_penalty < 0:
        return failed("error", f"ngram = {ngram} must be 1 or more, max_penalty = {max_penalty} not negative")
    return Score(-max_penalty * repeated_share(row.completion, ngram))


def repeated_share(text: str, ngram: int) -> float:
    """Share of n-grams that an earlier one equals, 0 … 1."""
    words = _TOKEN.findall(text.lower())
    grams = list(zip(*(words[shift:] for shift in range(ngram)), strict=False))
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0
