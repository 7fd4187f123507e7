"""Held-out evaluation: pass@1 over k samples, pass@k, cons@k, format and length. The arithmetic is pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from rewards.text.extract import answer_text
from rewards.types import ScoredGroup


@dataclass(frozen=True)
class EvalResult:
    """One evaluation; shares in 0…1, the interval is 95% over problems."""

    step: int
    pass1: float
    """Mean over problems of the share of correct samples (R1's pass@1 over k)."""
    ci_low: float
    ci_high: float
    passk: float
    """Share of problems with at least one correct sample among the k."""
    consk: float
    """Share of problems whose majority answer is correct (R1's cons@k)."""
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
    by_group: dict[str, float]
    """pass@1 by the prompt column `k` (or `level`), where the data has one."""
    by_kind: dict[str, dict[str, float]] = field(default_factory=dict)
    """By the prompt column `kind`, where the data has one: mean of each reward component, `length`, `truncated`. The
    reward that judges a kind without right answers stands here, e.g. by_kind["general"]["judge"]."""

    def row(self) -> dict[str, object]:
        """As a row of eval.jsonl."""
        return asdict(self)


def interval(shares: Sequence[float], z: float = 1.96) -> tuple[float, float]:
    """95% interval of the mean over problems.

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
    half = z / (1 + z * z / effective) * math.sqrt(bernoulli / effective + z * z / (4 * effective**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def majority(answers: Sequence[str | None]) -> int | None:
    """Index of the first sample that gives the most frequent answer; None if no sample gives one. Ties: the first."""
    counts = Counter(a for a in answers if a is not None)
    if not counts:
        return None
    best = max(counts.values())
    return next(i for i, a in enumerate(answers) if a is not None and counts[a] == best)


def summarize(step: int, groups: Sequence[ScoredGroup], correct: str) -> EvalResult:
    """Turn scored groups into one result; `correct` names the component that is 1 for a right answer.

    Prompts to which it does not apply (`kinds`) have no right answer: they count in `components` and `by_kind` alone.

    Raises:
        ValueError: no group is judged by `correct`.
    """
    every = groups
    groups = [g for g in every if any(correct in s.components for s in g.scores)]
    if not groups:
        raise ValueError(f"an evaluation needs at least one problem that {correct!r} applies to")
    shares, any_right, consensus, lengths, truncated, abstained = [], 0, 0, [], 0, 0
    by_group: dict[str, list[float]] = {}
    for scored in groups:
        right = [(s.components.get(correct) or 0.0) >= 1.0 for s in scored.scores]
        share = sum(right) / len(right)
        shares.append(share)
        any_right += any(right)
        prefill = scored.group.prompt.prefill
        answers = [answer_text(prefill + s.text) for s in scored.group.samples]
        elected = majority([None if a is None else " ".join(a.split()) for a in answers])
        consensus += elected is not None and right[elected]
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
        passk=any_right / len(groups),
        consk=consensus / len(groups),
        format=means.get("format", means.get("format_r1")),
        components=means,
        length=sum(lengths) / len(lengths),
        truncated=truncated / len(lengths),
        n_problems=len(groups),
        k=len(groups[0].scores),
        abstained=abstained,
        by_group={name: sum(v) / len(v) for name, v in sorted(by_group.items())},
        by_kind={kind: component_means(of) | _lengths(of) for kind, of in sorted(kinds.items())},
    )


def component_means(groups: Sequence[ScoredGroup]) -> dict[str, float]:
    """Mean of each reward component over the samples that have a value of it."""
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
