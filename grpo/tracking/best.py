"""The best checkpoints of a run by a metric, and when to stop because it no longer improves.

    keeper = BestKeeper(run_dir, config.best, resume_step=40)
    keeper.measured(45, {"eval/pass@1": 0.62, …})
    verdict = keeper.judge(45, is_checkpoint=False)        save it? which checkpoints stay? stop?

best.jsonl has a row for each judgement. Everything follows from these rows, so that a resumed run decides as one in one
piece does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.key_hints import did_you_mean
from grpo.config.best import EVALUATED, BestConfig
from grpo.tracking.jsonl import append_rows, read_rows, truncate_to
from policies.json_types import JsonDict

Judged = Sequence[tuple[int, float]]
"""(step, value) of each judgement, steps ascending, values finite."""


@dataclass(frozen=True)
class Verdict:
    """What follows from a step."""

    save: bool = False
    """The step is among the best: its checkpoint is written, due or not."""
    protected: tuple[int, ...] = ()
    """Steps whose checkpoints stay, the best first."""
    stop: str | None = None
    """Why the run ends here; None: it goes on."""


def ranking(judged: Judged, config: BestConfig) -> tuple[int, ...]:
    """Return the steps of the best values, the best first; of equal ones the earlier."""
    ordered = sorted(judged, key=lambda row: (-config.sign * row[1], row[0]))
    return tuple(step for step, _ in ordered[: config.keep])


def stop_reason(judged: Judged, config: BestConfig) -> str | None:
    """Say why the run is to end after these judgements; None if it is not.

    An improvement is measured from the last one that counted, so that many small ones in a row count together.
    """
    if config.patience is None or not judged:
        return None
    at, reference = judged[0]
    stale = 0
    for step, value in judged[1:]:
        if config.sign * (value - reference) > config.min_delta:
            at, reference, stale = step, value, 0
        else:
            stale += 1
    if stale < config.patience:
        return None
    more = f" by more than {config.min_delta:g}" if config.min_delta else ""
    return (
        f"{config.metric} has not improved{more} on {reference:.4g} of step {at:,} in the last {stale:,} judgements "
        f"(best.patience = {config.patience})"
    )


class BestKeeper:
    """Keeps best.jsonl of a run, and judges by it; without a `[best]` section it lets everything pass."""

    def __init__(self, run_dir: Path, config: BestConfig | None, resume_step: int) -> None:
        """Take up the judgements up to `resume_step` updates; later ones are dropped, since they come again.

        Raises:
            BrokenRun: best.jsonl is damaged.
        """
        self._path, self._config = run_dir / "best.jsonl", config
        self._measured: tuple[int, float] | None = None
        self._judged: list[tuple[int, float]] = []
        truncate_to(self._path, resume_step)
        if config is not None:
            rows = read_rows(self._path)
            self._judged = [(row["step"], row["value"]) for row in rows if row["metric"] == config.metric]

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metric's value after `step` updates, if it is among these and finite."""
        if self._config is not None and math.isfinite(value := values.get(self._config.metric, math.nan)):
            self._measured = (step, value)

    def judge(self, step: int, is_checkpoint: bool) -> Verdict:
        """Judge the step, if its metric has been measured and it is time to.

        Args:
            step: updates done.
            is_checkpoint: a checkpoint is due.
        """
        config = self._config
        if config is None:
            return Verdict()
        is_time = config.is_evaluated or is_checkpoint
        save = False
        if is_time and self._measured is not None and self._measured[0] == step:
            append_rows(self._path, [{"step": step, "metric": config.metric, "value": self._measured[1]}])
            self._judged.append(self._measured)
            self._measured = None
            save = step in ranking(self._judged, config)
        return Verdict(save, ranking(self._judged, config), self.stop_reason())

    def stop_reason(self) -> str | None:
        """Say why the run ends where it stands; None if it goes on."""
        return None if self._config is None else stop_reason(self._judged, self._config)

    @property
    def protected(self) -> tuple[int, ...]:
        """Return the steps whose checkpoints are kept for being the best so far."""
        return () if self._config is None else tuple(ranking(self._judged, self._config))

    @property
    def best(self) -> tuple[int, float] | None:
        """Return step and value of the best judgement; None if there is none yet."""
        if self._config is None or not self._judged:
            return None
        step = ranking(self._judged, self._config)[0]
        return step, dict(self._judged)[step]

    def exported_step(self, last: int) -> int:
        """Return the step whose policy the run leaves, if it ends after `last` updates."""
        return self.best[0] if self.wants_best and self.best is not None else last

    @property
    def wants_best(self) -> bool:
        """Return True if the run is to leave its best policy."""
        return self._config is not None and self._config.export == "best"

    def summary(self, last: int) -> JsonDict:
        """Return what summary.json says of it; nothing without a `[best]` section."""
        if self._config is None:
            return {}
        step, value = self.best or (None, None)
        return {
            "best": {"metric": self._config.metric, "step": step, "value": value},
            "exported_step": self.exported_step(last),
            "stopped_early": self.stop_reason(),
        }


def announce_end(keeper: BestKeeper, last: int) -> int:
    """Print why the run ends early, if it does, and what it leaves; returns the step whose policy it leaves."""
    reason, exported = keeper.stop_reason(), keeper.exported_step(last)
    if reason is not None:
        say(f"[yellow]early stop[/] after {last:,} updates: {escape(reason)}; raise best.patience to go on")
    if keeper.wants_best and keeper.best is None:
        say("[yellow]warning[/] best.metric was never measured; policy/ is the last one")
    if exported != last:
        say(f"policy/ is that of step {exported:,}, the best of {last:,}")
    return exported


def check_best(config: BestConfig | None, known: Sequence[str], every_steps: int) -> None:
    """Check that the run measures the metric, and before its end.

    Args:
        config: the section, if there is one.
        known: names that the run measures; a name that ends with "/" stands for all that begin with it.
        every_steps: updates between evaluations; 0: none before the end.

    Raises:
        ConfigError: names what is wrong and what to set.
    """
    if config is None:
        return
    if config.is_evaluated and not any(name.startswith(EVALUATED) for name in known):
        raise ConfigError(
            f"best.metric = {config.metric!r} is measured in evaluations, and this run has none: add a section "
            "[eval.data] (RL) or set eval.holdout (supervised)"
        )
    prefixes = tuple(name for name in known if name.endswith("/"))
    names = [name for name in known if not name.endswith("/")]
    if config.metric not in names and not config.metric.startswith(prefixes):
        hint = did_you_mean(config.metric, names)
        listing = ", ".join(sorted([*names, *(f"{prefix}…" for prefix in prefixes)]))
        raise ConfigError(
            f"best.metric = {config.metric!r} is not measured by this run{hint or f'. It measures: {listing}'}"
        )
    if config.sign == 0:
        raise ConfigError(
            f'best.metric = {config.metric!r}: is more of it better, or less? Set best.mode to "max" or "min"'
        )
    if config.is_evaluated and not every_steps:
        raise ConfigError(
            f"best.metric = {config.metric!r} is measured in evaluations, and eval.every_steps = 0 has none before the "
            "end; set it, e.g. --set eval.every_steps=10"
        )
