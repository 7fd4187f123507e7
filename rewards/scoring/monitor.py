"""Finds problems with the rewards of a running or finished run in its rows of metrics. Pure.

The guards (on screen, while it runs) and the report (afterwards) both print these findings.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rewards.config import AuditConfig
from rewards.scoring.stats import AuditCounts

Row = Mapping[str, float | None]
"""Metrics of one phase; a value that was not finite is NaN or None."""

AUDIT_PHASES = 50
"""Phases whose audited samples are counted together; one phase has too few of them for a rate."""
_MIN_AUDITED = 20
_BY_DESIGN = frozenset({"overlong", "repetition"})
"""Penalties that depend on length by definition, and are 0 in a healthy run."""
_MIN_SHARE = 0.02
"""Smallest share of the differences inside groups at which a reward can steer the policy."""


@dataclass(frozen=True)
class Finding:
    """One problem of a run."""

    kind: str
    """absent, silent, abstains, constant, dominates, length, verifier; those of the training signal are in
    grpo/tracking/signal.py."""
    component: str
    """The reward that it is about; empty if none."""
    text: str
    """Names cause, figure, bound and config key."""
    is_fatal: bool = False
    """True if the run must stop, since going on would train on nothing."""


def findings(
    rows: Sequence[Row],
    components: Sequence[str],
    audit: AuditConfig,
    main: str,
    varied: Collection[str] = (),
) -> list[Finding]:
    """Find problems of the rewards over the phases in `rows`; the second verifier has `verifier_finding`.

    Args:
        rows: metrics of the last phases.
        components: names of the rewards.
        audit: the bounds.
        main: the component that should decide (`eval.correct`): it may dominate. The first one if it is none of them.
        varied: components that differed between samples earlier in the run (`varying`): one of them, other than
            `main`, that is now 1 throughout has been learnt and is not broken.
    """
    main = main if main in components else components[0]
    learnt = set(varied) - {main}
    found = [f for name in components for f in _of_component(rows, name, audit, name in learnt)]
    return [*found, *_dominance(rows, components, audit, main), *_length(rows, components, audit)]


def varying(row: Row) -> set[str]:
    """Return the components that differed between the samples of a phase."""
    prefix = "reward_std/"
    return {
        key.removeprefix(prefix)
        for key, value in row.items()
        if key.startswith(prefix) and (value or 0.0) > 0.0
    }


def verifier_finding(rows: Sequence[Row], audit: AuditConfig) -> Finding | None:
    """Find a second verifier that contradicts the reward too often over the last `AUDIT_PHASES` phases."""
    counts = audited(rows)
    judged = counts.agree + counts.only_reward + counts.only_verifier
    wrong = counts.only_reward + counts.only_verifier
    if judged < _MIN_AUDITED or wrong <= audit.max_disagreement * judged:
        return None
    return Finding(
        "verifier",
        audit.of,
        f"the second verifier contradicts {audit.of!r} on {wrong / judged:.0%} of {judged:,} samples (bound "
        f"{audit.max_disagreement:.0%}, audit.max_disagreement): {counts.only_reward:,} only the reward accepts, "
        f"{counts.only_verifier:,} only the verifier; see the column second_verifier in samples/*.parquet",
    )


def audited(rows: Sequence[Row]) -> AuditCounts:
    """Sum the second verifier's counts over the last `AUDIT_PHASES` rows that have any."""
    some = [row for row in rows if _number(row, "audit/agree") is not None][-AUDIT_PHASES:]
    return AuditCounts(
        **{
            name: int(sum(_number(row, f"audit/{name}") or 0 for row in some))
            for name in ("agree", "only_reward", "only_verifier", "unjudged")
        }
    )


@dataclass(frozen=True)
class Episode:
    """A finding with the updates between which it held."""

    first: int
    last: int
    finding: Finding
    """The last one of its kind."""


def history(
    rows: Sequence[Row], components: Sequence[str], audit: AuditConfig, main: str, window: int
) -> list[Episode]:
    """Repeat what the guards found while the run went on: one entry per kind and component, in order of appearance.

    Args:
        rows: one per phase, with `step`.
        components, audit, main: as for `findings`.
        window: phases that are judged together.
    """
    episodes: dict[tuple[str, str], Episode] = {}
    judged: deque[Row] = deque(maxlen=AUDIT_PHASES)
    varied: set[str] = set()
    for end in range(1, len(rows) + 1):
        step = int(rows[end - 1].get("step") or 0)
        found = findings(rows[end - window : end], components, audit, main, varied) if end >= window else []
        varied |= varying(rows[end - 1])
        if "audit/agree" in rows[end - 1]:
            judged.append(rows[end - 1])
            second = verifier_finding(list(judged), audit)
            found += [second] if second else []
        for finding in found:
            key = finding.kind, finding.component
            first = episodes[key].first if key in episodes else step
            episodes[key] = Episode(first, step, finding)
    return list(episodes.values())


def summary(rows: Sequence[Row], components: Sequence[str], audit: AuditConfig) -> Iterator[str]:
    """Yield one line per reward and one for the second verifier, whether there is a finding or not."""
    for name in components:
        if not any(f"reward/{name}" in row for row in rows):
            yield f"{name}: applied to no prompt"
            continue
        parts = [
            f"mean {_format(_mean(rows, f'reward/{name}'))}",
            f"std {_format(_mean(rows, f'reward_std/{name}'))}",
        ]
        if (share := _mean(rows, f"reward_share/{name}")) is not None:
            parts.append(f"{share:.0%} of the differences inside groups")
        if (correlation := _mean(rows, f"length_corr/{name}")) is not None:
            parts.append(f"correlation with length {correlation:+.2f}")
        parts.append(f"no verdict {_mean(rows, f'reward_abstained/{name}') or 0.0:.1%}")
        yield f"{name}: {', '.join(parts)}"
    counts = audited(rows)
    judged = counts.agree + counts.only_reward + counts.only_verifier
    if judged or counts.unjudged:
        agreement = f"agrees on {counts.agree / judged:.1%} of" if judged else "judged none of"
        yield (
            f"second verifier of {audit.of}: {agreement} {judged:,} samples; {counts.only_reward:,} only the "
            f"reward accepts, {counts.only_verifier:,} only the verifier, {counts.unjudged:,} without two verdicts"
        )


def _of_component(rows: Sequence[Row], name: str, audit: AuditConfig, is_learnt: bool) -> Iterator[Finding]:
    # A reward that applies to no prompt of a phase leaves no metric; one that applies and fails leaves NaN.
    means = [row[f"reward/{name}"] for row in rows if f"reward/{name}" in row]
    phases = f"{len(rows)} phases"
    if not means:
        text = f"reward {name!r} applies to no prompt (start_step, kinds) over {phases}"
        yield Finding("absent", name, text)
        return
    if all(mean is None or math.isnan(mean) for mean in means):
        text = (
            f"reward {name!r} gave no verdict at all in the last {len(means)} phases; "
            "read the reasons in samples/*.parquet"
        )
        yield Finding("silent", name, text, is_fatal=True)
        return
    abstained = _mean(rows, f"reward_abstained/{name}") or 0.0
    if abstained > audit.max_component_abstained:
        text = (
            f"reward {name!r} gave no verdict on {abstained:.0%} of the samples over {phases} (bound "
            f"{audit.max_component_abstained:.0%}, audit.max_component_abstained); "
            "read the reasons in samples/*.parquet"
        )
        yield Finding("abstains", name, text)
    spreads = [row.get(f"reward_std/{name}") or 0.0 for row in rows]
    is_fine = name.partition("#")[0] in _BY_DESIGN or (is_learnt and means[-1] == 1.0)
    if max(spreads) == 0.0 and len(set(means)) == 1 and not is_fine:
        text = f"reward {name!r} is constant at {means[-1]:.3g} over {len(means)} phases: it teaches nothing"
        yield Finding("constant", name, text)


def _dominance(
    rows: Sequence[Row], components: Sequence[str], audit: AuditConfig, main: str
) -> Iterator[Finding]:
    shares = {
        name: share for name in components if (share := _mean(rows, f"reward_share/{name}")) is not None
    }
    for name, share in shares.items():
        others = [other for other in shares if other != name and _mean(rows, f"reward_std/{other}")]
        if name != main and others and share > audit.max_component_share:
            text = (
                f"reward {name!r} makes {share:.0%} of the differences inside groups over {len(rows)} phases (bound "
                f"{audit.max_component_share:.0%}, audit.max_component_share): {', '.join(others)} hardly teach; "
                "lower its weight"
            )
            yield Finding("dominates", name, text)


def _length(rows: Sequence[Row], components: Sequence[str], audit: AuditConfig) -> Iterator[Finding]:
    for name in components:
        correlation, share = _mean(rows, f"length_corr/{name}"), _mean(rows, f"reward_share/{name}")
        if name.partition("#")[0] in _BY_DESIGN or correlation is None or (share or 0.0) < _MIN_SHARE:
            continue
        if abs(correlation) > audit.max_length_correlation:
            text = (
                f"reward {name!r} follows the length of the completion (correlation {correlation:+.2f} inside groups "
                f"over {len(rows)} phases, bound {audit.max_length_correlation:g}, audit.max_length_correlation): "
                f"the policy learns to write {'more' if correlation > 0 else 'less'}, whether or not that helps"
            )
            yield Finding("length", name, text)


def _number(row: Row, key: str) -> float | None:
    value = row.get(key)
    return None if value is None or math.isnan(value) else value


def _mean(rows: Sequence[Row], key: str) -> float | None:
    values = [value for row in rows if (value := _number(row, key)) is not None]
    return math.fsum(values) / len(values) if values else None


def _format(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
