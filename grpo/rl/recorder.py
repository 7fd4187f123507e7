"""What happens with what the RL loop reports: it is written, shown, and judged.

    PhaseRecord ─▶ RunFiles   metrics.jsonl, samples/, ledger.jsonl
                ─▶ Screen     one line, the time left, each warning once
                ─▶ Guards     an error where the run has gone wrong (grpo/tracking/guards.py)

The files come first, so that a run which a guard stops has its last phase on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from grpo.common.console import say
from grpo.config.rl import RlConfig
from grpo.rl.death_watch import DeathWatch
from grpo.rl.evaluate import EvalResult
from grpo.rl.loop import LoopState, PhaseRecord
from grpo.tracking.best import BestKeeper
from grpo.tracking.guards import Guards
from grpo.tracking.ledger_file import LedgerWriter
from grpo.tracking.metrics import MetricsWriter, eval_tags, shown
from grpo.tracking.samples import SampleWriter
from grpo.tracking.screen import eval_line, summary_line
from grpo.tracking.signal import resolve_limits
from grpo.tracking.trackers.registry import TENSORBOARD
from policies.json_types import JsonDict, JsonMapping
from rewards.config import component_labels
from rewards.scoring.monitor import Finding
from rewards.scoring.scorer import component_weights
from rewards.types import ScoredGroup
from rollout.ledger import LedgerRow


def make_recorder(
    config: RlConfig,
    start: LoopState,
    *,
    compute_dtype: str,
    model: str | None,
    attempts: Callable[[], Sequence[LedgerRow]],
) -> Recorder:
    """Build the recorder of a run.

    Args:
        config: the run's.
        start: where this process begins; what was written after it is dropped, since it will be done again.
        compute_dtype: of the learner.
        model: hash of the policy that the run began with (`model_hash`).
        attempts: returns every attempt at a chunk so far (`RolloutHandle.ledger_rows`).
    """
    files = RunFiles(config.run_dir, start, model, attempts, TENSORBOARD in config.trackers)
    guards = make_guards(config, compute_dtype)
    guards.recall(files.metrics.read())
    best = BestKeeper(config.run_dir, config.best, start.step)
    screen = Screen(config.steps, config.token_budget, start)
    death = DeathWatch(component_weights(config.rewards), config.eval.correct, files.write_samples)
    return Recorder(files, screen, guards, best, death)


def make_guards(config: RlConfig, compute_dtype: str) -> Guards:
    """Build the guards that the recipe asks for."""
    limits = resolve_limits(config.guards, compute_dtype, config.algorithm.mini_batches)
    return Guards(limits, component_labels(config.rewards), config.audit, config.eval.correct)


def phase_metrics_row(phase: PhaseRecord) -> dict[str, float]:
    """One row for a whole phase: its own metrics and those of its last update."""
    return {**phase.metrics, **phase.reports[-1].metrics}


def run_summary(
    seed: int,
    end: LoopState,
    metrics: MetricsWriter,
    worker_restarts: int,
    minutes: float,
    best: JsonMapping,
) -> JsonDict:
    """Compute what summary.json holds: before, after, how exact, how long; `best` is `BestKeeper.summary`'s part."""
    rows, evals = metrics.read(), metrics.read_eval()
    first, last = (evals[0], evals[-1]) if evals else ({}, {})
    return {
        "seed": seed,
        "steps": end.step,
        "trained_tokens": end.tokens,
        "base_pass1": first.get("pass1"),
        "base_ci": [first.get("ci_low"), first.get("ci_high")],
        "base_format": first.get("format"),
        "base_length": first.get("length"),
        "base_pass_at": shown(first.get("pass_at", {})),
        "base_consk": first.get("consk"),
        "final_pass1": last.get("pass1"),
        "final_ci": [last.get("ci_low"), last.get("ci_high")],
        "final_format": last.get("format"),
        "final_length": last.get("length"),
        "final_pass_at": shown(last.get("pass_at", {})),
        "final_consk": last.get("consk"),
        "eval_problems": last.get("n_problems"),
        "eval_samples": last.get("k"),
        "logprob_mismatch_max": _largest(rows, "logprob_mismatch/max"),
        "logprob_mismatch_mean": _largest(rows, "logprob_mismatch/mean"),
        "worker_restarts": worker_restarts,
        "minutes": round(minutes, 3),
        **best,
    }


def _largest(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    """The largest value of a metric over the run; None if no row has it."""
    return max((row[key] for row in rows if key in row), default=None)


class Recorder:
    """The callbacks of `grpo.rl.loop.train`."""

    def __init__(
        self, files: RunFiles, screen: Screen, guards: Guards, best: BestKeeper, death: DeathWatch
    ) -> None:
        """Take over the five parts."""
        self.death = death
        self.files = files
        self.screen = screen
        self.guards = guards
        self.best = best

    def on_scored(self, step: int, scored: Sequence[ScoredGroup]) -> None:
        """Stop the run if a reward is dead; see `DeathWatch.scored`."""
        self.death.scored(step, scored)

    def on_phase(self, phase: PhaseRecord) -> None:
        """Write the phase, show it, and let the guards judge it.

        Raises:
            GuardTripped: the run has gone wrong; its files are written.
        """
        metrics = phase_metrics_row(phase)
        self.files.write_phase(phase)
        self.best.measured(phase.end.step, metrics)
        self.screen.show_phase(phase.end, metrics)
        self.screen.warn(self.guards.check(phase.metrics, [report.metrics for report in phase.reports]))

    def on_eval(self, result: EvalResult, scored: Sequence[ScoredGroup]) -> None:
        """Write and show an evaluation.

        Raises:
            GuardTripped: the reward that says what is right has given no value.
        """
        self.files.write_eval(result, scored)
        self.death.evaluated(scored)
        self.best.measured(result.step, eval_tags(result.row()))
        self.screen.show_eval(result)


class RunFiles:
    """The files of a run that grow while it trains."""

    def __init__(
        self,
        run_dir: Path,
        start: LoopState,
        model: str | None,
        attempts: Callable[[], Sequence[LedgerRow]],
        tensorboard: bool = True,
    ) -> None:
        """Open them; rows and samples of steps after `start` are dropped."""
        # Without a checkpoint the evaluation of step 0 is done again too.
        resume_step = start.step or -1
        self.metrics = MetricsWriter(run_dir, resume_step, tensorboard)
        self._samples = SampleWriter(run_dir, resume_step, model)
        self._ledger = LedgerWriter(run_dir, resume_step)
        self._attempts = attempts

    def write_phase(self, phase: PhaseRecord) -> None:
        """Write a row of metrics per update, with the phase's own in the last; the samples; the new attempts."""
        for report in phase.reports:
            shared = phase.metrics if report is phase.reports[-1] else {}
            self.metrics.write(report.step + 1, {**shared, **report.metrics})
        self._samples.write(phase.end.step, phase.scored, phase.advantages, phase.discarded)
        self._ledger.write(phase.end.step, self._attempts())

    def write_samples(self, step: int, scored: Sequence[ScoredGroup]) -> Path:
        """Write the samples of a phase that does not train; returns the file."""
        return self._samples.write(step, scored, {})

    def write_eval(self, result: EvalResult, scored: Sequence[ScoredGroup]) -> None:
        """Write a row of eval.jsonl, the samples, and the new attempts."""
        self.metrics.write_eval(result.row())
        self._samples.write_eval(result.step, scored)
        self._ledger.write(result.step, self._attempts())


class Screen:
    """The lines that a person watches."""

    def __init__(
        self,
        steps: int,
        token_budget: int | None,
        start: LoopState,
        now: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = say,
    ) -> None:
        """Take over what is known; the throughput is measured from `begin` on.

        Args:
            steps: updates of the whole run.
            token_budget: completion tokens after which it ends, if that is earlier.
            start: where this process begins.
            now: a clock in seconds.
            show: takes each line, in rich's markup.
        """
        self._steps, self._token_budget, self._start = steps, token_budget, start
        self._now, self._show = now, show
        self._since: float | None = None
        self._warned: set[tuple[str, str]] = set()

    def begin(self) -> None:
        """Measure the throughput from here on: the first phase begins. Later calls change nothing."""
        if self._since is None:
            self._since = self._now()

    def show_phase(self, end: LoopState, metrics: Mapping[str, float]) -> None:
        """Print the line of a phase that ended in this state."""
        self._show(summary_line(end.step, self._steps, metrics, self.eta_s(end)))

    def show_eval(self, result: EvalResult) -> None:
        """Print the line of an evaluation."""
        self._show(eval_line(result.figures()))

    def warn(self, findings: Sequence[Finding]) -> None:
        """Print each finding once in the process's life."""
        for finding in findings:
            if (finding.kind, finding.component) not in self._warned:
                self._show(f"[yellow]warning[/] {escape(finding.text)}")
                self._warned.add((finding.kind, finding.component))

    def eta_s(self, end: LoopState) -> float:
        """Estimate how long the remaining updates (or tokens, if they end first) take at the throughput so far."""
        left = float(self._steps - end.step)
        if self._token_budget is not None and end.tokens:
            tokens_left = max(self._token_budget - end.tokens, 0)
            left = min(left, tokens_left * end.step / end.tokens)
        taken = 0.0 if self._since is None else self._now() - self._since
        return taken / max(end.step - self._start.step, 1) * left
