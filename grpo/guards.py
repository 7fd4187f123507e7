"""Guards against the silent zero: a run that goes on and looks fine while its signal is dead.

Each guard reads the metrics of the last `window` phases and names cause and knob. Fatal ones raise, the others warn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from grpo.config import GuardConfig
from grpo.errors import GuardTripped


class Guards:
    """Judges each phase; keeps the last `window` phases."""

    def __init__(self, config: GuardConfig, components: Sequence[str], gap_limit: float) -> None:
        """Args: the guards' bounds; names of the reward components; the engine/learner gap that stops the run."""
        self._config = config
        self._components = tuple(components)
        self._gap_limit = gap_limit
        self._window: deque[Mapping[str, float]] = deque(maxlen=config.window)

    def check(self, metrics: Mapping[str, float]) -> list[str]:
        """Judge one phase's metrics.

        Returns:
            Warnings, for a person to act on.

        Raises:
            GuardTripped: the signal is dead.
        """
        gap = metrics.get("gap/mean", 0.0)
        if not math.isfinite(gap) or gap > self._gap_limit:
            raise GuardTripped(
                f"engine and learner disagree: mean |Δ log-prob| {gap:.2g} > {self._gap_limit:.2g} "
                "(guards.max_engine_learner_gap). The policy is trained on another distribution than it samples from; "
                "look at the weight sync and the dtypes (policy.compute_dtype, engine.dtype)"
            )
        loss = metrics.get("loss", 0.0)
        if not math.isfinite(loss) or not math.isfinite(metrics.get("grad_norm", 0.0)):
            raise GuardTripped(
                f"loss {loss} / gradient norm {metrics.get('grad_norm')} is not finite; lower optimizer.lr"
            )
        self._window.append(metrics)
        if len(self._window) < self._config.window:
            return []
        self._stop_if(
            "length/truncated_share",
            self._config.max_truncated,
            "completions hit the length limit",
            "raise sampling.max_tokens",
            "guards.max_truncated",
        )
        self._stop_if(
            "group/no_spread_share",
            self._config.max_no_spread,
            "groups have no spread in reward, so no advantage",
            "use easier or harder prompts, a larger algorithm.group_size or dynamic_sampling",
            "guards.max_no_spread",
        )
        self._stop_if(
            "reward/abstained_share",
            self._config.max_abstained,
            "samples got no verdict",
            "read the reasons in samples/*.parquet",
            "guards.max_abstained",
        )
        return [w for name in self._components for w in self._component(name)]

    def _mean(self, key: str) -> float:
        values = [m[key] for m in self._window if key in m]
        return sum(values) / len(values) if values else 0.0

    def _stop_if(self, key: str, bound: float, what: str, mend: str, knob: str) -> None:
        share = self._mean(key)
        if share > bound:
            raise GuardTripped(
                f"{share:.0%} of {what} over the last {len(self._window)} phases (bound {bound:.0%}, {knob}); {mend}"
            )

    def _component(self, name: str) -> list[str]:
        # A reward that applies to no prompt of a phase leaves no metric; one that applies and fails leaves NaN.
        means = [v for m in self._window if (v := m.get(f"reward/{name}")) is not None]
        if not means:
            return [
                f"reward {name!r} applies to no prompt (start_step, kinds) over {len(self._window)} phases"
            ]
        if all(math.isnan(v) for v in means):
            raise GuardTripped(
                f"reward {name!r} gave no verdict at all in the last {len(means)} phases; "
                "read the reasons in samples/*.parquet"
            )
        spreads = [m.get(f"reward_std/{name}", 0.0) for m in self._window]
        if max(spreads) == 0.0 and len(set(means)) == 1:
            return [
                f"reward {name!r} is constant at {means[-1]:.3g} over {len(means)} phases: it teaches nothing"
            ]
        return []
