"""Judged completions → preference pairs. Pure; the judge is a function.

    compare ─▶ votes, both orders ─▶ agree? ─▶ margin > Δ ? ─▶ length balance ─▶ pairs

Source: R1 v2 §3.1: several judgements of each pair, in both orders, mean difference Δ > 1, and chosen and rejected
of comparable length over the data set, so that the reward model does not learn length.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Compare = Callable[[str, str, str, int, Mapping[str, Any]], float]
"""(prompt, first, second, seed, columns) → how much better the first is; negative: the second is."""


@dataclass(frozen=True)
class Completion:
    """One sampled reply."""

    prompt_id: str
    prompt: str
    text: str
    kind: str | None
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Preference:
    """A pair with its judgement; a row of the file."""

    prompt: str
    chosen: str
    rejected: str
    margin: float
    """Mean of the votes, > 0."""
    votes: tuple[float, ...]
    """From the chosen one's side."""
    kind: str | None


def draw_pairs(
    completions: Sequence[Completion], per_prompt: int, seed: int
) -> list[tuple[Completion, Completion]]:
    """Draw up to `per_prompt` pairs of different texts of each prompt; the order inside a pair is random, since judges
    favour a position.

    Depends on the prompt's id and texts and the seed alone, not on the other prompts.
    """
    by_prompt: dict[str, dict[str, Completion]] = {}
    for completion in completions:
        by_prompt.setdefault(completion.prompt_id, {}).setdefault(completion.text, completion)
    drawn: list[tuple[Completion, Completion]] = []
    for prompt_id, texts in by_prompt.items():
        replies = [texts[t] for t in sorted(texts)]
        every = [(a, b) for i, a in enumerate(replies) for b in replies[i + 1 :]]
        rng = np.random.default_rng([seed, _number(prompt_id)])
        for at in rng.permutation(len(every))[:per_prompt]:
            a, b = every[at]
            drawn.append((a, b) if rng.random() < 0.5 else (b, a))
    return drawn


def judge_pair(
    compare: Compare, first: Completion, second: Completion, votes: int, swap: bool, seed: int
) -> tuple[float, ...] | None:
    """Ask the judge; return votes from the side of `first`, None if the two orders name different winners.

    Args:
        compare: the judge.
        first, second: two completions of a prompt.
        votes: judgements in all; with `swap` even, half of them in each order.
        swap: ask both orders.
        seed: of the judge's own seeds.

    Raises:
        ValueError: a vote of the judge is not a finite number.
    """
    pair_seed = _number(f"{first.prompt_id}\0{first.text}\0{second.text}")

    def ask(a: Completion, b: Completion, order: int) -> list[float]:
        found = []
        for vote in range(votes // 2 if swap else votes):
            vote_seed = int(np.random.SeedSequence((seed, pair_seed, order, vote)).generate_state(1)[0])
            value = float(compare(a.prompt, a.text, b.text, vote_seed, a.columns))
            if not math.isfinite(value):
                raise ValueError(f"the judge gave {value} for prompt {a.prompt_id}; expected a finite number")
            found.append(value)
        return found

    straight = ask(first, second, 0)
    if not swap:
        return tuple(straight)
    swapped = [-v for v in ask(second, first, 1)]
    if sum(straight) * sum(swapped) < 0:
        return None
    return tuple(straight + swapped)


def to_preference(
    first: Completion, second: Completion, votes: Sequence[float], min_margin: float
) -> Preference | None:
    """Put the winner in front; None if the mean vote is not above the margin, or there is no winner."""
    mean = math.fsum(votes) / len(votes)
    if mean == 0 or abs(mean) <= min_margin:
        return None
    sign = 1 if mean > 0 else -1
    chosen, rejected = (first, second) if mean > 0 else (second, first)
    return Preference(
        first.prompt, chosen.text, rejected.text, abs(mean), tuple(sign * v for v in votes), first.kind
    )


def balance_lengths(
    pairs: Sequence[Preference], max_ratio: float, length: Callable[[str], int] = len
) -> list[Preference]:
    """Leave out pairs until mean length of chosen / rejected lies within [1/max_ratio, max_ratio]; order is kept.

    Greedy: the pair whose length difference pulls furthest to the heavy side goes first, unless without it the other
    side would be too heavy; of equal ones the one with the smaller margin. Nothing is left where no part of the pairs
    is found that balances. The paper says that lengths are kept comparable, not how.
    """
    sizes = [(length(p.chosen), length(p.rejected)) for p in pairs]
    chosen, rejected = sum(c for c, _ in sizes), sum(r for _, r in sizes)
    kept = set(range(len(pairs)))

    def excess(chosen: int, rejected: int) -> float:
        """Return how far the heavy side exceeds the bound; ≤ 0 within it."""
        return max(chosen - max_ratio * rejected, rejected - max_ratio * chosen)

    while kept and excess(chosen, rejected) > 0:
        sign = 1 if chosen > rejected else -1
        pull = {i: sign * (sizes[i][0] - sizes[i][1]) for i in kept}
        order = sorted((i for i in kept if pull[i] > 0), key=lambda i: (-pull[i], pairs[i].margin, i))
        gone = len(kept)
        for i in order:
            after = chosen - sizes[i][0], rejected - sizes[i][1]
            if excess(*after) > 0 and (after[0] > after[1]) != (sign > 0):
                continue  # it would make the other side too heavy
            kept.remove(i)
            chosen, rejected = after
            if excess(chosen, rejected) <= 0:
                break
        if gone == len(kept):  # every pair would; leave out the one that tips it least
            i = min(order, key=lambda i: (excess(chosen - sizes[i][0], rejected - sizes[i][1]), i))
            kept.remove(i)
            chosen, rejected = chosen - sizes[i][0], rejected - sizes[i][1]
    return [p for i, p in enumerate(pairs) if i in kept]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
