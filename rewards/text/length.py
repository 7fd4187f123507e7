"""Reward `overlong`: DAPO's soft penalty for long completions (arXiv 2503.14476, eq. 13), added to other rewards.

R = 0                                                   if |y| ≤ max_tokens − cache_tokens
    (max_tokens − cache_tokens − |y|) / cache_tokens    if |y| ≤ max_tokens
    −1                                                  otherwise
"""

from __future__ import annotations

from rewards.rows import RewardRow
from rewards.types import Score
from rewards.values import failed


def overlong(row: RewardRow, max_tokens: int, cache_tokens: int) -> Score:
    """Return a penalty from −1 to 0 based on the number of sampled tokens; abstain if the row has no token ids."""
    if not 0 < cache_tokens <= max_tokens:
        return failed("error", f"cache_tokens = {cache_tokens} must lie in 1 … max_tokens = {max_tokens}")
    if len(row.completion_ids) == 0:
        return failed("abstain", "no token ids, so no length")
    return Score(soft_punishment(len(row.completion_ids), max_tokens, cache_tokens))


def soft_punishment(length: int, max_tokens: int, cache_tokens: int) -> float:
    """Evaluate DAPO eq. 13 for a completion of `length` tokens."""
    free = max_tokens - cache_tokens
    if length <= free:
        return 0.0
    return max(-1.0, (free - length) / cache_tokens)
