"""Held-out evaluation: pass@1, pass@k for every k, cons@k, format and length, from scored groups.

Sources: pass@1 over k samples and cons@k are R1's (arXiv 2501.12948, §3.1); the unbiased estimator of pass@k is Chen et
al.'s (arXiv 2107.03374, eq. 1).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from grpo.rl.rating import Rating, problem_rating, rate
from grpo.rl.votes import Election, Equality, ValueEquality, elect
from grpo.tracking.metrics import shown
from rewards.text.extract import answer_text
from rewards.types import ScoredGroup


def interval(shares: Sequence[float], z: float = 1.96) -> tuple[float, float]:
    """Compute the 95% interval of the mean over problems.

    Wilson's interval on the effective number of problems: the samples of one problem are not independent, so the
    spread between problems counts, and at 0 or 1 the interval does not shrink to a point.
    """
    n = len(shares)
    if n == 0:
        return 0.0, 1.0
    mean = sum(shares) / n
    bernoulli = mean * (1 - mean)
    variance = sum((s - mean) ** 2 for s in shares) / max(n - 1, 1)
    effective = n * bernoulli / variance if variance > 0 and bernoulli > 0 else n
    effective = max(effective, 1.0)
    centre = (mean + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * math.sqrt(bernoulli / effective + (z / (2 * effective)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def pass_at(samples: int, correct: int, k: int) -> float:
    """Estimate the probability that one of k samples is correct, without bias, from the correct ones among `samples`.

    1 − C(n−c, k) / C(n, k), in integers up to the last division, so that it is exact but for one rounding.

    Raises:
        ValueError: not 0 ≤ correct ≤ samples, or not 1 ≤ k ≤ samples.
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} of {correct} correct among {samples} samples is not defined")
    every = math.comb(samples, k)
    return (every - math.comb(samples - correct, k)) / every


def pass_at_every(counts: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Average `pass_at` over problems, for every k up to the samples that each problem has.

    Args:
        counts: (samples, correct) of each problem, at least one.

    Returns:
        {"1": …, "2": …, …}.
    """
    problems = Counter(counts)
    most = min(samples for samples, _ in problems)
    return {
        str(k): math.fsum(of * pass_at(samples, correct, k) for (samples, correct), of in problems.items())
        / len(counts)
        for k in range(1, most + 1)
    }


def summarize(
    step: int, groups: Sequence[ScoredGroup], correct: str, equal: Equality | None = None
) -> EvalResult:
    """Turn scored groups into one result.

    Prompts to which `correct` does not apply (`kinds`) have no right answer: they count in `components` and `by_kind`
    alone.

    Args:
        step: updates done.
        groups: every group of the evaluation.
        correct: name of the component that is 1 for a right answer.
        equal: compares answers for cons@k; None: by the project's mathematics, in a process of its own.

    Raises:
        ValueError: no group is judged by `correct`.
    """
    every = groups
    groups = [g for g in every if any(correct in s.components for s in g.scores)]
    if not groups:
        raise ValueError(f"an evaluation needs at least one problem that {correct!r} applies to")
    rights = [[(s.components.get(correct) or 0.0) >= 1.0 for s in scored.scores] for scored in groups]
    election = _vote(groups, equal)
    consensus = [
        winner is not None and right[winner] for winner, right in zip(election.winners, rights, strict=True)
    ]
    estimates = pass_at_every([(len(right), sum(right)) for right in rights])
    shares, lengths, truncated, abstained = [], [], 0, 0
    by_group: dict[str, list[float]] = {}
    for scored, right in zip(groups, rights, strict=True):
        share = sum(right) / len(right)
        shares.append(share)
        lengths += [len(s.token_ids) for s in scored.group.samples]
        truncated += sum(s.is_truncated for s in scored.group.samples)
        abstained += sum(score.components.get(correct) is None for score in scored.scores)
        columns = scored.group.prompt.columns
        label = next((f"{c}={columns[c]}" for c in ("k", "level") if c in columns), None)
        if label is not None:
            by_group.setdefault(label, []).append(share)
    low, high = interval(shares)
    means = component_means(every)
    kinds: dict[str, list[ScoredGroup]] = {}
    for scored in every:
        if "kind" in scored.group.prompt.columns:
            kinds.setdefault(str(scored.group.prompt.columns["kind"]), []).append(scored)
    return EvalResult(
        step=step,
        pass1=sum(shares) / len(shares),
        ci_low=low,
        ci_high=high,
        passk=sum(map(any, rights)) / len(groups),
        pass_at=estimates,
        consk=sum(consensus) / len(groups),
        format=means.get("format", means.get("format_r1")),
        components=means,
        length=sum(lengths) / len(lengths),
        truncated=truncated / len(lengths),
        n_problems=len(groups),
        k=len(groups[0].scores),
        abstained=abstained,
        votes_undecided=election.undecided,
        by_group={name: sum(v) / len(v) for name, v in sorted(by_group.items())},
        by_kind={kind: component_means(of) | _lengths(of) for kind, of in sorted(kinds.items())},
        rating=_rating(groups, shares),
    )


def _rating(groups: Sequence[ScoredGroup], shares: Sequence[float]) -> Rating | None:
    """Rate the policy by the problems that have a number in the prompt column `rating`; None without any."""
    found = [
        (difficulty, share)
        for scored, share in zip(groups, shares, strict=True)
        if (difficulty := problem_rating(scored.group.prompt.columns.get("rating"))) is not None
    ]
    return rate(found) if found else None


def _vote(groups: Sequence[ScoredGroup], equal: Equality | None) -> Election:
    """Let the samples of each group vote with their final answers."""
    ballots = [
        [answer_text(scored.group.prompt.prefill + sample.text) for sample in scored.group.samples]
        for scored in groups
    ]
    if equal is not None:
        return elect(ballots, equal)
    with ValueEquality() as by_value:
        return elect(ballots, by_value)


def component_means(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Compute the mean of each reward component over the samples that have a value of it."""
    values: dict[str, list[float]] = {}
    for scored in groups:
        for score in scored.scores:
            for name, value in score.components.items():
                if value is not None:
                    values.setdefault(name, []).append(value)
    return {name: sum(v) / len(v) for name, v in values.items()}


def _lengths(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    samples = [s for scored in groups for s in scored.group.samples]
    return {
        "length": sum(len(s.token_ids) for s in samples) / len(samples),
        "truncated": sum(s.is_truncated for s in samples) / len(samples),
    }


@dataclass(frozen=True)
class EvalResult:
    """The result of one evaluation; shares are in 0…1, the interval is 95% over problems."""

    step: int
    pass1: float
    """Mean over problems of the share of correct samples (R1's pass@1 over k)."""
    ci_low: float
    ci_high: float
    passk: float
    """Share of problems with at least one correct sample among the k; pass_at[str(k)]."""
    pass_at: dict[str, float]
    """pass@j for every j from 1 to k, by `pass_at`: as JSON has it, with the number as text."""
    consk: float
    """Share of problems whose majority answer, by value, is correct (R1's cons@k; grpo/rl/votes.py)."""
    format: float | None
    """Mean of the reward `format` or else `format_r1`, if the recipe has one."""
    components: dict[str, float]
    """Mean of each reward component over the samples that have one."""
    length: float
    """Mean completion length in tokens."""
    truncated: float
    n_problems: int
    k: int
    abstained: int
    """Samples without a verdict; they count as not correct and are reported, never dropped in silence."""
    votes_undecided: int
    """Pairs of answers whose values could not be compared in time; they counted as different votes in cons@k."""
    by_group: dict[str, float]
    """pass@1 by the prompt column `k` (or `level`), where the data has one."""
    by_kind: dict[str, dict[str, float]] = field(default_factory=dict)
    """By the prompt column `kind`, where the data has one: mean of each reward component, `length`, `truncated`. The
    reward that judges a kind without right answers stands here, e.g. by_kind["general"]["judge"]."""
    rating: Rating | None = None
    """On Codeforces' scale, by the prompt column `rating`, where the data has one (grpo/rl/rating.py)."""

    def row(self) -> dict[str, object]:
        """Return the row of eval.jsonl; it has `rating` only if the data has ratings."""
        row = asdict(self)
        if self.rating is None:
            del row["rating"]
        return row

    def figures(self) -> dict[str, object]:
        """Return what a summary holds: the row with pass@j for the shown j alone."""
        return self.row() | {"pass_at": shown(self.pass_at)}
