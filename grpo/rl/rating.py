"""A policy's rating from the ratings of the problems that it tried, on the scale of Elo and Codeforces.

    P(a player of rating r solves a problem of rating d) = 1 / (1 + 10^((d − r) / 400))

The rating is the maximum of the likelihood: the r at which as many problems are expected to be solved as were. A
problem's share of solved samples counts as that part of a verdict, so that every problem weighs the same. R1
(2501.12948 v2, §4) reports ratings in contests against their human participants, whom no data set of problems holds;
this is the estimate that Codeforces' problem ratings allow, for there half of the players of a rating solve it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SCALE = 400 / math.log(10)
"""Rating points for a factor of e in the odds."""
_STEPS = 200


@dataclass(frozen=True)
class Rating:
    """An estimate with its 95% interval over problems."""

    value: float | None
    """None: no maximum, since every rated problem was solved in every sample, or none in any."""
    low: float | None
    high: float | None
    """Interval from the spread between problems (a sandwich estimate: the samples of one problem are not independent);
    None without a value."""
    problems: int
    """Problems with a rating."""
    solved: float
    """Mean share of samples that solved them."""


def rate(problems: Sequence[tuple[float, float]], z: float = 1.96) -> Rating:
    """Estimate the rating.

    Args:
        problems: (rating, share of samples that solved it, from 0 to 1) of each problem, at least one.
        z: half-width of the interval in standard errors.

    Raises:
        ValueError: no problems, a share outside 0 … 1, or a rating that is not finite.
    """
    if not problems:
        raise ValueError("no problem has a rating")
    for difficulty, share in problems:
        if not math.isfinite(difficulty) or not 0 <= share <= 1:
            raise ValueError(
                f"a problem of rating {difficulty} and share {share}: expected a number, and 0 … 1"
            )
    solved = math.fsum(share for _, share in problems)
    count = len(problems)
    if solved in (0, count):
        return Rating(None, None, None, count, solved / count)

    def surplus(rating: float) -> float:
        """Return how many more problems are expected to be solved than were: it grows with the rating."""
        return math.fsum(probability(rating, difficulty) - share for difficulty, share in problems)

    easiest, hardest = min(d for d, _ in problems), max(d for d, _ in problems)
    # With all problems at one end, the root is at its rating plus the log odds of the share.
    reach = SCALE * math.log(solved / (count - solved))
    low, high = easiest + reach, hardest + reach
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if surplus(middle) < 0:
            low = middle
        else:
            high = middle
    value = (low + high) / 2
    chances = [(probability(value, d), share) for d, share in problems]
    slope = math.fsum(p * (1 - p) for p, _ in chances) / SCALE
    error = math.sqrt(math.fsum((share - p) ** 2 for p, share in chances)) / slope
    return Rating(value, value - z * error, value + z * error, count, solved / count)


def probability(rating: float, difficulty: float) -> float:
    """Return the probability that a player of this rating solves a problem of this rating."""
    x = (difficulty - rating) / SCALE
    return 1 / (1 + math.exp(x)) if x < 0 else math.exp(-x) / (1 + math.exp(-x))


def problem_rating(value: object) -> float | None:
    """Return the rating that a prompt's column `rating` holds, as a number or text; None for anything else."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
