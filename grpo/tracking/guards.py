"""Guards against the silent zero: a run that goes on and looks fine while its signal is dead.

Each guard reads the metrics of the last `window` phases and names cause and knob. Fatal ones raise, the others warn.
What is said of the rewards is judged in rewards/scoring/monitor.py, for the report too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from grpo.common.errors import GuardTripped
from grpo.config.sections import GuardConfig
from rewards.config import AuditConfig
from rewards.scoring.monitor import AUDIT_PHASES, Finding, findings, varying, verifier_finding


class Guards:
    """Judges each phase; keeps the last `window` phases."""

    def __init__(
        self, config: GuardConfig, components: Sequence[str], gap_limit: float, audit: AuditConfig, main: str
    ) -> None:
        """Keep the bounds.

        Args:
            config: the guards' own.
            components: names of the rewards.
            gap_limit: engine/learner gap that stops the run.
            audit: bounds on the rewards.
            main: the component that is to decide, `eval.correct`.
        """
        self._config, self._audit = config, audit
        self._components, self._main = tuple(components), main
        self._gap_limit = gap_limit
        self._window: deque[Mapping[str, float]] = deque(maxlen=config.window)
        self._varied: set[str] = set()
        self._audited: deque[Mapping[str, float]] = deque(maxlen=AUDIT_PHASES)

    def check(self, metrics: Mapping[str, float]) -> list[Finding]:
        """Judge one phase's metrics.

        Returns:
            Faults of the rewards that do not stop the run, for a person to act on.

        Raises:
            GuardTripped: the signal is dead.
        """
        gap = metrics.get("logprob_mismatch/mean", 0.0)
        if not math.isfinite(gap) or gap > self._gap_limit:
            raise GuardTripped(
                f"engine and learner disagree: mean |Δ log-prob| {gap:.2g} > {self._gap_limit:.2g} "
                "(guards.max_logprob_mismatch). The policy is trained on another distribution than it samples from; "
                "look at the weight sync and the dtypes (policy.compute_dtype, engine.dtype)"
            )
        loss = metrics.get("loss", 0.0)
        if not math.isfinite(loss) or not math.isfinite(metrics.get("grad_norm", 0.0)):
            raise GuardTripped(
                f"loss {loss} / gradient norm {metrics.get('grad_norm')} is not finite; lower optimizer.lr"
            )
        self._window.append(metrics)
        self._varied |= varying(metrics)
        if "audit/agree" in metrics:
            self._audited.append(metrics)
        second = verifier_finding(list(self._audited), self._audit)
        found = [second] if second else []
        if len(self._window) < self._config.window:
            return found
        self._stop_if(
            "length/truncated_share",
            self._config.max_truncated,
            "completions hit the length limit",
            "raise sampling.max_tokens",
            "guards.max_truncated",
        )
        self._stop_if(
            "group/zero_variance_share",
            self._config.max_zero_variance,
            "groups have rewards without variance, so no advantage",
            "use easier or harder prompts, a larger algorithm.group_size or dynamic_sampling",
            "guards.max_zero_variance",
        )
        self._stop_if(
            "reward/abstained_share",
            self._config.max_abstained,
            "samples got no verdict",
            "read the reasons in samples/*.parquet",
            "guards.max_abstained",
        )
        if self._mean("group/zero_variance_share") == 1.0:
            text = (
                f"no group has had any spread in reward over the last {len(self._window)} phases: no sample has an "
                "advantage. Solved, or prompts too hard; guards.max_zero_variance below 1 stops here"
            )
            found.append(Finding("zero_variance", "", text))
        found += findings(list(self._window), self._components, self._audit, self._main, self._varied)
        for finding in found:
            if finding.is_fatal:
                raise GuardTripped(finding.text)
        return found

    def _mean(self, key: str) -> float:
        values = [m[key] for m in self._window if key in m]
        return sum(values) / len(values) if values else 0.0

    def _stop_if(self, key: str, bound: float, what: str, mend: str, knob: str) -> None:
        share = self._mean(key)
        if share > bound:
            raise GuardTripped(
                f"{share:.0%} of {what} over the last {len(self._window)} phases (bound {bound:.0%}, {knob}); {mend}"
            )
