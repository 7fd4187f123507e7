"""Is the training signal alive? Judged from the rows of the last phases; pure. `grpo.tracking.guards` acts on it.

What concerns the rewards themselves is judged in rewards/scoring/monitor.py, for the report too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from grpo.config.sections import GuardConfig
from rewards.scoring.monitor import Finding

Row = Mapping[str, float]
"""Metrics of one phase, by `phase_row`."""

MIN_ENTROPY = 0.05
"""Nats; lower entropies count as this one, since relative changes down there are noise."""
ENTROPY_PHASES = 5
"""Fewest phases over which a slope of the entropy is judged. Healthy runs of benchmarks/results whose reward does not
rise change by at most 0.12 per update over 5 phases, by 0.27 over 3."""


@dataclass(frozen=True)
class Limits:
    """The bounds of a run: the recipe's, with its defaults resolved."""

    config: GuardConfig
    mismatch: float
    """Largest mean |Δ log-prob| between engine and learner, nats."""
    staleness: int
    """Largest age of a sample, updates."""


def resolve_limits(config: GuardConfig, compute_dtype: str, mini_batches: int) -> Limits:
    """Return the bounds of a run.

    Args:
        config: the recipe's [guards].
        compute_dtype: of the learner; sets the mismatch that rounding explains.
        mini_batches: updates per phase.
    """
    rounding = 1e-3 if compute_dtype == "float32" else 0.1
    return Limits(config, config.max_logprob_mismatch or rounding, config.max_staleness or mini_batches)


def phase_row(phase: Row, updates: Sequence[Row]) -> dict[str, float]:
    """Return one row for a phase: its own metrics, and those of its updates as means (`*_max`, `*/max`: the largest).

    A value that is not finite in any update is not finite in the row.
    """
    row = dict(phase)
    for name in dict.fromkeys(name for update in updates for name in update):
        values = [update[name] for update in updates if name in update]
        broken = [value for value in values if not math.isfinite(value)]
        if broken:
            row[name] = broken[0]
        elif name.endswith(("_max", "/max")):
            row[name] = max(values)
        else:
            row[name] = math.fsum(values) / len(values)
    row["updates"] = float(len(updates))
    return row


def phases_of(rows: Sequence[Row]) -> list[list[Row]]:
    """Cut the rows of metrics.jsonl, one per update, into phases: the last row of each has the phase's own metrics."""
    phases: list[list[Row]] = [[]]
    for row in rows:
        phases[-1].append(row)
        if "reward/total" in row:
            phases.append([])
    return phases[:-1]


def phase_findings(row: Row, limits: Limits) -> Iterator[Finding]:
    """Yield what cannot be right even in one phase: all fatal."""
    # A reward is NaN in a phase that has no verdict on it: what that means is judged over the window.
    broken = {
        name: value
        for name, value in row.items()
        if not math.isfinite(value) and not (math.isnan(value) and name.startswith("reward"))
    }
    if broken:
        figures = ", ".join(f"{name} = {value}" for name, value in sorted(broken.items()))
        yield _fatal(
            "not_finite",
            f"not finite: {figures} (bound: every figure is a finite number). The weights may be damaged: lower "
            "optimizer.lr, and start again from the last checkpoint",
        )
    mismatch = row.get("logprob_mismatch/mean", 0.0)
    if mismatch > limits.mismatch:
        yield _fatal(
            "logprob_mismatch",
            f"engine and learner disagree: mean |Δ log-prob| {mismatch:.2g} > {limits.mismatch:.2g} nats "
            "(guards.max_logprob_mismatch). The policy is trained on another distribution than it samples from; look "
            "at the weight sync and the dtypes (policy.compute_dtype, engine.dtype)",
        )
    age = row.get("rollout/staleness_max", 0.0)
    if age > limits.staleness:
        yield _fatal(
            "stale",
            f"stale samples: the oldest was begun {age:.0f} updates before the end of its phase (bound "
            f"{limits.staleness}, guards.max_staleness; None takes algorithm.mini_batches). A sample of an earlier "
            "version was trained on: a late or abandoned chunk was counted, see ledger.jsonl and version_first in "
            "samples/*.parquet",
        )


def window_findings(rows: Sequence[Row], limits: Limits) -> Iterator[Finding]:
    """Yield what is wrong with the signal over a full window of phases."""
    config, phases = limits.config, f"over the last {len(rows)} phases"
    for key, bound, what, knob, hint in (
        (
            "length/truncated_share",
            config.max_truncated,
            "completions hit the length limit",
            "max_truncated",
            "raise sampling.max_tokens",
        ),
        (
            "group/zero_variance_share",
            config.max_zero_variance,
            "groups have rewards without variance, so no advantage",
            "max_zero_variance",
            "use easier or harder prompts, a larger algorithm.group_size or dynamic_sampling",
        ),
        (
            "reward/abstained_share",
            config.max_abstained,
            "samples got no verdict",
            "max_abstained",
            "read the reasons in samples/*.parquet",
        ),
    ):
        share = _mean(rows, key)
        if share > bound:
            yield _fatal(
                knob.removeprefix("max_"),
                f"{share:.0%} of {what} {phases} (bound {bound:.0%}, guards.{knob}); {hint}",
            )
    if _mean(rows, "group/zero_variance_share") == 1.0:
        text = (
            f"no group has had any variance in reward {phases}: no sample has an advantage. Solved, or prompts too "
            "hard; guards.max_zero_variance below 1 stops here"
        )
        yield Finding("zero_variance", "", text)
    yield from _zero_gradient(rows, config, phases)
    yield from _clipped(rows, config, phases)


def entropy_findings(rows: Sequence[Row], config: GuardConfig) -> Iterator[Finding]:
    """Yield a collapse or an explosion of the entropy while the reward does not rise.

    An entropy that falls while the reward rises is a policy that learns: from 0.39 to 0.08 nats in 4 updates on the
    tiny world.
    """
    known = [row for row in rows if "policy/entropy" in row]
    if len(known) < ENTROPY_PHASES or _slope([row.get("reward/total", math.nan) for row in known]) > 0.0:
        return
    entropies = [row["policy/entropy"] for row in known]
    per_phase = _slope([math.log(max(entropy, MIN_ENTROPY)) for entropy in entropies])
    slope = per_phase / max(_mean(known, "updates"), 1.0)
    name, warn, stop, hint = (
        (
            "fall",
            config.warn_entropy_fall,
            config.max_entropy_fall,
            "the policy collapses onto few completions; raise algorithm.clip_high or algorithm.kl_coef, or lower "
            "optimizer.lr",
        )
        if slope < 0
        else (
            "rise",
            config.warn_entropy_rise,
            config.max_entropy_rise,
            "the policy dissolves into noise; lower optimizer.lr or algorithm.clip_high, or raise algorithm.kl_coef",
        )
    )
    stops = stop is not None and abs(slope) > stop
    bound, knob = (stop, f"max_entropy_{name}") if stops else (warn, f"warn_entropy_{name}")
    if abs(slope) > (bound or math.inf):
        text = (
            f"the entropy {name}s from {entropies[0]:.2g} to {entropies[-1]:.2g} nats over the last {len(known)} "
            f"phases while the reward does not rise: {abs(slope):.2f} of its logarithm per update (bound {bound:g}, "
            f"guards.{knob}); {hint}"
        )
        yield Finding(f"entropy_{name}", "", text, is_fatal=stops)


def _zero_gradient(rows: Sequence[Row], config: GuardConfig, phases: str) -> Iterator[Finding]:
    # Without variance a zero gradient is the rule, and has a finding of its own.
    varied = [row for row in rows if row.get("group/zero_variance_share", 0.0) < 1.0]
    share = _mean(varied, "zero_gradient")
    if len(varied) == len(rows) and share > config.max_zero_gradient:
        yield _fatal(
            "zero_gradient",
            f"{share:.0%} of the updates {phases} had a gradient of exactly zero (bound "
            f"{config.max_zero_gradient:.0%}, guards.max_zero_gradient), although "
            f"{1 - _mean(rows, 'group/zero_variance_share'):.0%} of the groups have variance in reward. Either clip "
            f"and importance mask leave no token (policy/clip_frac {_mean(rows, 'policy/clip_frac'):.2g}, "
            f"policy/importance_bound_frac {_mean(rows, 'policy/importance_bound_frac'):.2g}; raise "
            "algorithm.clip_low, clip_high, importance_cap), or no weight that trains is reached by the loss "
            "(policy.lora.targets)",
        )


def _clipped(rows: Sequence[Row], config: GuardConfig, phases: str) -> Iterator[Finding]:
    share = _mean(rows, "policy/clip_frac")
    stops = share > config.max_clip_frac
    bound, knob = (
        (config.max_clip_frac, "max_clip_frac") if stops else (config.warn_clip_frac, "warn_clip_frac")
    )
    if share > bound:
        text = (
            f"the clip takes the gradient from {share:.0%} of the tokens {phases} (bound {bound:.0%}, guards.{knob}): "
            "each phase moves the policy further than the clip allows; lower optimizer.lr or algorithm.mini_batches, "
            "or raise algorithm.clip_low and clip_high"
        )
        yield Finding("clip_frac", "", text, is_fatal=stops)


def _fatal(kind: str, text: str) -> Finding:
    return Finding(kind, "", text, is_fatal=True)


def _mean(rows: Sequence[Row], key: str) -> float:
    """Return the mean over the rows that have the key; 0 if none has it."""
    values = [row[key] for row in rows if key in row]
    return math.fsum(values) / len(values) if values else 0.0


def _slope(values: Sequence[float]) -> float:
    """Return the least-squares slope per entry; NaN if a value is not finite."""
    if not all(math.isfinite(value) for value in values):
        return math.nan
    centre, mean = (len(values) - 1) / 2, math.fsum(values) / len(values)
    moment = math.fsum((i - centre) * (value - mean) for i, value in enumerate(values))
    return moment / math.fsum((i - centre) ** 2 for i in range(len(values)))
