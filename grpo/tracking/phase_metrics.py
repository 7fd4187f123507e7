"""Metrics of what a phase sampled, from its scored groups. Pure; names and units are in grpo/tracking/metrics.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grpo.algorithm.advantages import has_spread
from rewards.scoring.stats import phase_figures, verdict_shares
from rewards.types import ScoredGroup


def phase_metrics(
    scored: Sequence[ScoredGroup], kept: Mapping[str, float], weights: Mapping[str, float], audited: str
) -> dict[str, float]:
    """Compute means over the samples of a phase.

    Args:
        scored: every group that the phase sampled, abstentions and discarded groups included. Figures over the kept
            groups alone would not describe the policy: they improve with every group that is thrown away.
        kept: counts from `to_train_groups`, of what trains; passed through.
        weights: weights of the reward components in the total.
        audited: component with which the second verifier, if there is one, is compared.

    Returns:
        The figures of `rewards.scoring.stats.phase_figures` for each component; reward_by_kind/<kind>, reward/total,
        reward/abstained_share, length/*, group/*, tokens/rollout, and `kept`.
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
        "group/zero_variance_share": sum(not has_variance(g) for g in scored) / len(scored),
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


def dynamic_sampling_metrics(
    kept: Sequence[ScoredGroup], discarded: Sequence[ScoredGroup], rounds: int
) -> dict[str, float]:
    """Return sampling/*: what dynamic sampling drew beside the groups that it kept.

    Args:
        kept: groups that went on to training.
        discarded: groups that did not.
        rounds: of drawing.
    """
    return {
        "sampling/rounds": float(rounds),
        "sampling/discarded_groups": float(len(discarded)),
        "sampling/discarded_tokens": float(sum(len(s.token_ids) for g in discarded for s in g.group.samples)),
        "sampling/filled_groups": float(sum(not has_variance(g) for g in kept)),
    }


def staleness(groups: Sequence[ScoredGroup], end: int) -> float:
    """Return the age of the oldest sample, in updates: from the version that sampled its first token to step `end`.

    When sampling and training take turns, this is the number of updates of the phase, algorithm.mini_batches.
    """
    return float(end - min(s.version_first for g in groups for s in g.group.samples))


def has_variance(group: ScoredGroup) -> bool:
    """Return True if the group's verdicts differ in reward, so that its advantages are not all zero."""
    return has_spread([s.total for s in group.scores if s.total is not None], group.scale)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
