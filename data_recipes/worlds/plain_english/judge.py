"""The rule that judges requests of plain English: as many of the things as were asked for, and briefly.

content(row)      share of the things that are right and not too many; decides which samples are kept
quality(row)      the same, less for a reply that goes on after it; what the preference pairs are made of
"""

from __future__ import annotations

import re

from data_recipes.worlds.plain_english.problems import LISTS
from policies.json_types import JsonMapping
from rewards.rows import RewardRow
from rewards.text.extract import after_reasoning

BRIEF_WORDS = 25
"""Words up to which a reply loses nothing."""
LONG_WORDS = 100
"""Words from which on it loses half."""
_WORD = re.compile(r"[a-z]+")


def content(row: RewardRow) -> float | None:
    """Return the share of the wanted things that the reply names, 0 … 1, less if it names more; None for other rows."""
    if row.columns.get("kind") != "general":
        return None
    wanted, things = str(row.answer).split()
    found = _named(after_reasoning(row.completion), things)
    return min(found, int(wanted)) / max(found, int(wanted))


def quality(row: RewardRow) -> float | None:
    """Return the content's share, less up to half of it for a long reply."""
    share = content(row)
    if share is None:
        return None
    words = len(after_reasoning(row.completion).split())
    over = min(max(words - BRIEF_WORDS, 0) / (LONG_WORDS - BRIEF_WORDS), 1.0)
    return share * (1 - over / 2)


def judge(prompt: str, first: str, second: str, seed: int, columns: JsonMapping) -> float:
    """Return how much better the first reply is, from -2 to 2, by the rule alone."""
    scores = [
        quality(RewardRow(completion=text, prompt=prompt, answer=columns.get("answer"), columns=columns))
        or 0.0
        for text in (first, second)
    ]
    return 4 * max(-0.5, min(0.5, scores[0] - scores[1]))


def _named(text: str, things: str) -> int:
    words = set(_WORD.findall(text.lower()))
    return sum(any(form in words for form in (name, f"{name}s", f"{name}es")) for name in LISTS[things])
