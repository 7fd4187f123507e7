"""The section `[best]`, for RL and for supervised stages: which checkpoint is the best, and when to stop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from policies.settings import Length, Operational, Settings

EVALUATED = ("eval/", "heldout/")
"""Beginnings of the names of metrics that evaluations measure."""
BETTER_UP = (
    "reward/",
    "reward_by_kind/",
    "eval/pass@",
    "eval/cons@",
    "eval/format",
    "eval/reward/",
    "heldout/accuracy",
    "heldout/margin",
)
BETTER_DOWN = ("loss", "heldout/loss")
"""Beginnings of the names of metrics that say by themselves what is better."""


class BestConfig(Settings):
    """The best checkpoint by a metric. It is judged at every evaluation if the metric is measured there (eval/…,
    heldout/…), otherwise at every checkpoint; a value of the base, before the first update, does not count."""

    metric: Length[str]
    """A name of metrics.jsonl or an eval/… name, e.g. "eval/pass@1", "heldout/loss", "reward/total"."""
    mode: Length[Literal["auto", "max", "min"]] = "auto"
    """What is better. "auto": less for losses, more for rewards, pass@k and accuracies; other metrics need it said."""
    keep: Operational[int] = Field(1, ge=1)
    """Best checkpoints that stay, beside the checkpoint.keep newest. Each is written when it is found."""
    export: Length[Literal["last", "best"]] = "last"
    """The checkpoint that becomes policy/ when the run ends."""
    patience: Length[int | None] = Field(None, ge=1)
    """The run ends after so many judgements in a row without an improvement; None: never early."""
    min_delta: Length[float] = Field(0.0, ge=0)
    """An improvement counts for patience if it is larger than this."""

    @property
    def sign(self) -> int:
        """Return 1 if more is better, -1 if less is, 0 if it must be said (`grpo.tracking.best.check_best`)."""
        if self.mode != "auto":
            return 1 if self.mode == "max" else -1
        if self.metric == "reward/abstained_share":
            return 0
        return self.metric.startswith(BETTER_UP) - self.metric.startswith(BETTER_DOWN)

    @property
    def is_evaluated(self) -> bool:
        """Return True if the metric comes from evaluations, False if every update or phase has it."""
        return self.metric.startswith(EVALUATED)
