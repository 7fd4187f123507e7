"""Makes preference pairs from judged completions; the judge is a function.

    compare ─▶ votes, both orders ─▶ agree? ─▶ margin > Δ ? ─▶ length balance ─▶ pairs

As in R1 v2 §3.1: several judgements of each pair in both orders, a mean difference Δ > 1, and comparable mean lengths
of chosen and rejected replies, so that the reward model does not learn length.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from policies.json_types import JsonMapping
from rewards.judges.verdicts import Unreadable

Compare = Callable[[str, str, str, int, JsonMapping], float]
"""(prompt, first, second, seed, columns) → how much better the first reply is; negative if the second is."""


@dataclass(frozen=True)
class Completion:
    """One sampled reply with its prompt."""

    prompt_id: str
    prompt: str
    text: str
    kind: str | None
    columns: JsonMapping


@dataclass(frozen=True)
class Preference:
    """A judged pair: one row of the output file."""

    prompt: str
    chosen: str
    rejected: str
    margin: float
    """Mean of the votes, > 0."""
    votes: tuple[float, ...]
    """Votes, positive for the chosen reply."""
    kind: str | None


def draw_pairs(
    completions: Sequence[Completion], per_prompt: int, seed: int
) -> list[tuple[Completion, Completion]]:
    """Draw up to `per_prompt` pairs of different texts per prompt, each in random order (judges favour positions).

    The result depends on the prompt's id, its texts and the seed, and not on other prompts.
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
    """Return the votes, positive for `first`; None if the two orders have different winners.

    A vote that cannot be read is left out.

    Args:
        compare: the judge.
        first, second: two completions of a prompt.
        votes: number of judgements; even with `swap`, half of them in each order.
        swap: True judges both orders.
        seed: seed of the judge's seeds.

    Raises:
        Unreadable: no vote of an order can be read.
        ValueError: the judge returned no finite number.
    """
    unread: list[Unreadable] = []
    pair_number = _number(f"{first.prompt_id}\0{first.text}\0{second.text}")

    def ask(a: Completion, b: Completion, order: int) -> list[float]:
        found = []
        for vote in range(votes // 2 if swap else votes):
            vote_seed = int(np.random.SeedSequence((seed, pair_number, order, vote)).generate_state(1)[0])
            try:
                value = float(compare(a.prompt, a.text, b.text, vote_seed, a.columns))
            except Unreadable as error:
                unread.append(error)
                continue
            if not math.isfinite(value):
                raise ValueError(
                    f"the judge returned {value} for prompt {a.prompt_id}; expected a finite number"
                )
            found.append(value)
        if not found:
            raise unread[0]
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
    """Return the pair with its winner as chosen; None if |mean vote| is not above the margin or is 0."""
    mean = math.fsum(votes) / len(votes)
    if mean == 0 or abs(mean) <= min_margin:
        return None
    sign = 1 if mean > 0 else -1
    chosen, rejected = (first, second) if mean > 0 else (second, first)
    return Preference(
        prompt=first.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        margin=abs(mean),
        votes=tuple(sign * v for v in votes),
        kind=first.kind,
    )


def balance_lengths(
    pairs: Sequence[Preference], max_ratio: float, length: Callable[[str], int] = len
) -> list[Preference]:
    """Drop pairs until mean length of chosen / rejected is within [1/max_ratio, max_ratio]; the order is kept.

    It is greedy: the pair with the largest length difference towards the longer side is dropped first, unless the other
    side would then be too long; of equal pairs the one with the smaller margin. If no subset is balanced, none is kept.
    The paper states that lengths are comparable but not how that is done.
    """
    sizes = [(length(p.chosen), length(p.rejected)) for p in pairs]
    chosen, rejected = sum(c for c, _ in sizes), sum(r for _, r in sizes)
    kept = set(range(len(pairs)))

    def excess(chosen: int, rejected: int) -> float:
        """Return by how much the longer side exceeds the bound; ≤ 0 within it."""
        return max(chosen - max_ratio * rejected, rejected - max_ratio * chosen)

    while kept and excess(chosen, rejected) > 0:
        sign = 1 if chosen > rejected else -1
        pull = {i: sign * (sizes[i][0] - sizes[i][1]) for i in kept}
        order = sorted((i for i in kept if pull[i] > 0), key=lambda i: (-pull[i], pairs[i].margin, i))
        gone = len(kept)
        for i in order:
            after = chosen - sizes[i][0], rejected - sizes[i][1]
            if excess(*after) > 0 and (after[0] > after[1]) != (sign > 0):
                continue  # the other side would be too long
            kept.remove(i)
            chosen, rejected = after
            if excess(chosen, rejected) <= 0:
                break
        if gone == len(kept):  # true for every pair: drop the one with the least excess
            i = min(order, key=lambda i: (excess(chosen - sizes[i][0], rejected - sizes[i][1]), i))
            kept.remove(i)
            chosen, rejected = chosen - sizes[i][0], rejected - sizes[i][1]
    return [p for i, p in enumerate(pairs) if i in kept]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
