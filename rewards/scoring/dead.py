"""Is a reward dead? One that raises at every sample, or that never gives a value, trains nothing; pure.

    death = find_death(scored, weights, alive)      None, or what is dead and why

The loop asks before it trains on a phase, and after each evaluation: a dead reward stops the run at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from rewards.types import Score, ScoredGroup

FAILED = ("error", "timeout")


def find_death(scored: Sequence[ScoredGroup], weights: Mapping[str, float], alive: Set[str]) -> str | None:
    """Return what is dead in these groups, with the first reason and its traceback; None if nothing is.

    Args:
        scored: all groups of a phase or an evaluation.
        weights: of the components in the total; one of weight 0 decides nothing.
        alive: components that have given a value before.
    """
    scores = [score for group in scored for score in group.scores]
    if scores and all(score.verdict in FAILED for score in scores):
        return f"every one of {len(scores):,} verdicts is an error: {first_reason(scores)}"
    deciding = [name for name, weight in weights.items() if weight and name not in alive]
    return find_silent(scored, deciding)


def find_silent(scored: Sequence[ScoredGroup], components: Sequence[str]) -> str | None:
    """Return which of these components gives no value for any sample that it applies to, and why; None if all do."""
    scores = [score for group in scored for score in group.scores]
    for name in components:
        asked = [score for score in scores if name in score.components]
        if asked and all(score.components[name] is None for score in asked):
            return (
                f"reward {name} has given no value for any of {len(asked):,} samples: {first_reason(asked)}"
            )
    return None


def find_alive(scored: Sequence[ScoredGroup]) -> set[str]:
    """Return the components that gave a value for some sample."""
    scores = (score for group in scored for score in group.scores)
    return {name for score in scores for name, value in score.components.items() if value is not None}


def first_reason(scores: Sequence[Score]) -> str:
    """Return the first reason for a missing verdict, and its traceback if the reward raised."""
    missing = [score for score in scores if score.verdict != "ok"] or list(scores)
    first = next((score for score in missing if score.trace), missing[0])
    return f"{first.reason or 'no reason given'}\n{first.trace}".rstrip()
