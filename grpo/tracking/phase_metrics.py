"""What one rollout phase says about itself, from its scored groups. Pure; names and units in
grpo/tracking/metrics.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grpo.algorithm.advantages import has_spread
from rewards.scoring.stats import phase_figures, verdict_shares
from rewards.types import ScoredGroup


def phase_metrics(
    scored: Sequence[ScoredGroup], kept: Mapping[str, float], weights: Mapping[str, float], audited: str
) -> dict[str, float]:
    """Means over the samples of a phase.

    Args:
        scored: every group of the phase, abstentions included.
        kept: counts from `to_train_groups`, passed through.
        weights: of the reward components in the total.
        audited: component that the second verifier, if there is one, is compared with.

    Returns:
        What `rewards.scoring.stats.phase_figures` says of the components; reward_by_kind/<kind>, reward/total,
        reward/abstained_share, length/*, group/*.
    """
    samples = [s for g in scored for s in g.group.samples]
    scores = [s for g in scored for s in g.scores]
    lengths = [len(s.token_ids) for s in samples]
    totals = [s.total for s in scores if s.total is not None]
    metrics: dict[str, float] = {
        "reward/total": _mean(totals),
        "reward/abstained_share": 1.0 - verdict_shares(scored)["ok"],
        "length/mean": _mean(lengths),
        "length/max": float(max(lengths)),
        "length/truncated_share": sum(s.is_truncated for s in samples) / len(samples),
        "group/zero_variance_share": sum(
            not has_spread([s.total for s in g.scores if s.total is not None]) for g in scored
        )
        / len(scored),
        "tokens/rollout": float(sum(lengths)),
    }
    metrics |= phase_figures(scored, weights, audited)
    by_kind: dict[str, list[float]] = {}
    for group in scored:
        if (kind := group.group.prompt.columns.get("kind")) is not None:
            totals = by_kind.setdefault(str(kind), [])
            totals += [s.total for s in group.scores if s.total is not None]
    metrics |= {f"reward_by_kind/{kind}": _mean(by_kind[kind]) for kind in sorted(by_kind)}
    return metrics | dict(kept)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
