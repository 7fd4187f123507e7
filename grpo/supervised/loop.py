"""The supervised stage's driver: epochs of items through the ranks, with checkpoints, metrics and a report.

    summary = run_supervised(config, "grpo sft", lambda: Job(…), address)

    run_once ─▶ read() ─▶ BatchPlan ─▶ ranks.update × steps ─▶ export policy/ ─▶ summary.json, report.html

The `Objective` that the job names (grpo/training/supervised_learner.py) says what is learnt, the stage that reads the
data what an item is. Killed anywhere, the same command resumes from the last checkpoint with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol

import numpy as np
from rich.markup import escape

from grpo.algorithm.schedules import is_due
from grpo.common import stopping
from grpo.common.console import clock, say, starting
from grpo.config.supervised import SupervisedConfig
from grpo.memory.launch import check_memory
from grpo.tracking.best import BestKeeper, announce_end, check_best
from grpo.tracking.metrics import MetricsWriter
from grpo.tracking.report.live import LiveReport
from grpo.tracking.report.show import show_policy, show_stop
from grpo.tracking.run_dir import check_or_write_manifest, facts, refuse_less
from grpo.tracking.run_once import Summary, run_once
from grpo.tracking.trackers.process import tracked
from grpo.tracking.trackers.registry import TENSORBOARD, check_trackers
from grpo.training.checkpoint import EXAMPLES, Checkpoint, latest
from grpo.training.epochs import BatchPlan
from grpo.training.item import ItemT
from policies.json_types import JsonMapping

if TYPE_CHECKING:
    from grpo.training.supervised_learner import ObjectiveFactory

LINES = 20
"""About so many lines on screen for a whole run."""


@dataclass(frozen=True)
class Job(Generic[ItemT]):
    """What a stage passes to the loop once its data is read and checked."""

    model_dir: Path
    compute_dtype: str
    """The learner's, resolved: float32 or bfloat16."""
    objective: ObjectiveFactory[ItemT]
    items: Sequence[ItemT]
    """The items to train on; picklable."""
    held_out: Sequence[ItemT] = ()
    """Items that are never trained on."""
    repeats: Sequence[float] | None = None
    """How often each item occurs in an epoch (`grpo.training.epochs.epoch_order`); None: once."""
    targets: Sequence[int] | None = None
    """Target tokens of each item; None where the targets are no tokens."""
    data_hashes: Mapping[str, str] = field(default_factory=dict)
    """The hashes of the data for the manifest."""
    measures: Sequence[str] = ("loss",)
    """What the objective reports of a batch, and as heldout/… of held-out items."""
    counts: JsonMapping = field(default_factory=dict)
    """What was read and left out; printed, and stored in summary.json under "data"."""


class Ranks(Protocol):
    """The ranks as the loop sees them."""

    def update(self, batch: Sequence[object], step: int) -> dict[str, float]:
        """Do one optimizer update; returns its metrics."""

    def evaluate(self, items: object) -> dict[str, float]:
        """Return the metrics of held-out items: a list of them, or Ray's reference to it."""

    def save(self, step: int, examples: int, protected: Sequence[int]) -> None:
        """Write a checkpoint, atomically, with the number of examples that the updates took; old ones go, but for those
        of protected steps."""


def run_supervised(
    config: SupervisedConfig, title: str, read: Callable[[], Job[ItemT]], address: str | None
) -> Summary:
    """Train, or go on training, in config.run_dir; leaves policy/, summary.json and report.html, returns the summary.

    Args:
        config: the stage's; its dump is the run's config.json.
        title: begins the first line on screen, e.g. "grpo sft".
        read: reads and checks the data; called once, before any actor starts. The same config must give the same
            items.
        address: Ray cluster, see `grpo.cluster.ray_session.connect`.

    Raises:
        BrokenRun: the data or the policy has changed since the run began, or the run directory is damaged or in use.
        RunError: a loss that is not finite, or a rank that was lost.
    """
    return run_once(
        config,
        config.run_dir,
        lambda: train_policy(config, title, read, address),
        lambda _: show_policy(config.run_dir),
        on_stop=lambda: show_stop(config.run_dir),
    )


def train_policy(
    config: SupervisedConfig, title: str, read: Callable[[], Job[ItemT]], address: str | None
) -> Summary:
    """Read the data, start the ranks, train to the end and export the policy; returns the summary."""
    from grpo.cluster.ray_session import connect, put
    from grpo.cluster.supervised_cluster import start_supervised

    started = time.monotonic()
    check_trackers(config.trackers)
    starting("reading the data")
    job = read()
    check_best(config.best, measured_names(job), config.eval.every_steps)
    manifest = facts(config, config.seed, job.data_hashes, job.model_dir)
    checkpoint = latest(config.run_dir / "checkpoints")
    plan = batch_plan(config, job, checkpoint)
    step = checkpoint.step if checkpoint else 0
    refuse_less(config.run_dir, "epochs or max_steps", plan.steps, step)
    check_or_write_manifest(config.run_dir, config, manifest, step)
    say(_headline(config, title, job, plan, step))
    check_memory(config, job.model_dir, job.compute_dtype, address)
    writer = MetricsWriter(config.run_dir, step or -1, TENSORBOARD in config.trackers)
    best = BestKeeper(config.run_dir, config.best, step)
    with (
        tracked(config.trackers, config.run_dir, config, resume_step=step or -1),
        connect(address, config.run_dir),
        closing(start_supervised(config, job.objective, job.model_dir, plan.steps, checkpoint)) as ranks,
        closing(LiveReport(config.run_dir)) as report,
    ):
        starting("first update" if step or not job.held_out else "held-out loss before the first update")
        held_out = put(list(job.held_out)) if job.held_out else None
        last = train(config, plan, step, job.items, held_out, ranks, writer, best, report.update)
        ranks.export(config.run_dir / "policy", announce_end(best, last), last)
    summary = _summary(config, plan, last, job, writer.read(), (time.monotonic() - started) / 60)
    return summary | best.summary(last)


def preview(config: SupervisedConfig, title: str, job: Job[ItemT]) -> None:
    """Check what `train_policy` checks before it starts the ranks, and print what it prints."""
    check_trackers(config.trackers)
    check_best(config.best, measured_names(job), config.eval.every_steps)
    checkpoint = latest(config.run_dir / "checkpoints")
    say(
        _headline(
            config, title, job, batch_plan(config, job, checkpoint), checkpoint.step if checkpoint else 0
        )
    )
    check_memory(config, job.model_dir, job.compute_dtype, None)


def batch_plan(config: SupervisedConfig, job: Job[ItemT], checkpoint: Checkpoint | None) -> BatchPlan:
    """Return the batches of the whole run, or of one that goes on from a checkpoint."""
    repeats = job.repeats if job.repeats is not None else [1.0] * len(job.items)
    start = (0, 0)
    if checkpoint is not None:  # 0.1 did not store it: batches were whole until then
        start = checkpoint.step, int(checkpoint.extra.get(EXAMPLES, checkpoint.step * config.batch_size))
    return BatchPlan(repeats, config.batch_size, config.epochs, config.max_steps, config.seed, start)


def train(
    config: SupervisedConfig,
    plan: BatchPlan,
    step: int,
    items: Sequence[object],
    held_out: object,
    ranks: Ranks,
    writer: MetricsWriter,
    best: BestKeeper,
    on_checkpoint: Callable[[], None] = lambda: None,
) -> int:
    """Train from `step` to the plan's end, or until `best` stops it; returns the updates that are done.

    A row of metrics is written per update, and row 0 with the held-out loss before the first. Ctrl-C and SIGTERM
    (`grpo.common.stopping`) leave a checkpoint of the last update.
    """
    first, since, saved = step, time.monotonic(), step
    stop = best.stop_reason()
    try:
        if step == 0 and held_out is not None:
            writer.write(0, _held_out(ranks.evaluate(held_out)))
        while step < plan.steps and not stop:
            with stopping.held():  # update, row and judgement belong together
                row = ranks.update([items[i] for i in plan.batch(step)], step)
                step += 1
                row["epoch"] = plan.epoch(step)
                due = partial(is_due, step, is_last=step == plan.steps)
                if held_out is not None and due(config.eval.every_steps):
                    row |= _held_out(ranks.evaluate(held_out))
                best.measured(step, row)
                is_checkpoint = due(config.checkpoint.every_steps)
                verdict = best.judge(step, is_checkpoint)
                stop = verdict.stop
                if stop and held_out is not None and "heldout/loss" not in row:
                    row |= _held_out(ranks.evaluate(held_out))
                # The row is written first: a crash in between redoes it, the other order would lose it.
                writer.write(step, row)
            if is_checkpoint or verdict.save or stop:
                ranks.save(step, plan.examples(step), verdict.protected)
                saved = step
                on_checkpoint()
            if "heldout/loss" in row or due(max(1, plan.steps // LINES)):
                left = (time.monotonic() - since) / (step - first) * (plan.steps - step)
                say(_line(step, plan.steps, row, left))
    except KeyboardInterrupt:
        if step > saved:
            ranks.save(step, plan.examples(step), best.protected)
        if step:
            stopping.leave_note(f"checkpoint of step {step:,} in {config.run_dir}; the same command goes on")
        raise
    return step


def measured_names(job: Job[ItemT]) -> list[str]:
    """List what the run measures."""
    own = ["grad_norm", "lr", "epoch", "tokens/learner", "tokens_per_s", "time/update_s"]
    return [*job.measures, *own, *(f"heldout/{name}" for name in job.measures if job.held_out)]


def take_holdout(count: int, holdout: int, seed: int) -> tuple[list[int], list[int]]:
    """Return (indices to train on, indices held out), both ascending; a pure function of its arguments.

    Raises:
        ValueError: nothing is left to train on.
    """
    if holdout >= count:
        raise ValueError(f"eval.holdout = {holdout} leaves nothing of {count} examples to train on")
    # A random stream of its own: that of (seed, epoch) orders the epochs.
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 0, 1))))
    held = np.sort(rng.permutation(count)[:holdout])
    return np.setdiff1d(np.arange(count), held).tolist(), held.tolist()


def _held_out(metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"heldout/{name}": value for name, value in metrics.items()}


def _headline(config: SupervisedConfig, title: str, job: Job[ItemT], plan: BatchPlan, step: int) -> str:
    lines = [
        f"[bold]{title}[/] {escape(str(job.model_dir))} ({job.compute_dtype}) → {escape(str(config.run_dir))}",
        f"  {len(job.items):,} examples, {plan.epoch_size:,} an epoch, {len(job.held_out):,} held out; "
        f"{plan.steps:,} updates of {config.batch_size}, {plan.epoch(plan.steps):.1f} epochs",
    ]
    if job.counts:
        lines.append("  " + ", ".join(f"{name} {value:,}" for name, value in job.counts.items()))
    if step:
        lines.append(f"  resuming after step {step:,}")
    return "\n".join(lines)


def _line(step: int, steps: int, row: Mapping[str, float], left_s: float) -> str:
    held = f"  [dim]held out[/] [bold]{row['heldout/loss']:.4f}[/]" if "heldout/loss" in row else ""
    return (
        f"[bold]{step:>{len(str(steps))}}/{steps}[/]  loss [bold green]{row['loss']:.4f}[/]{held}  "
        f"[dim]grad norm[/] {row['grad_norm']:.3g}  [dim]lr[/] {row['lr']:.2e}  "
        f"[dim]epoch[/] {row['epoch']:.2f}  {row['tokens_per_s']:,.0f} tokens/s  "
        f"[dim]left[/] {clock(left_s)}"
    )


def _summary(
    config: SupervisedConfig,
    plan: BatchPlan,
    last: int,
    job: Job,
    rows: Sequence[JsonMapping],
    minutes: float,
) -> Summary:
    """Return the content of summary.json: losses before and after, tokens, time; `last` counts the updates done."""
    updates = [row for row in rows if "loss" in row]
    held = [row for row in rows if "heldout/loss" in row]
    tokens = sum(row["tokens/learner"] for row in updates)
    seconds = sum(row["time/update_s"] for row in updates)

    def ends(name: str) -> dict[str, float]:
        row = held[0 if name == "first" else -1] if held else {}
        return {f"{name}_{k.replace('/', '_')}": v for k, v in row.items() if k.startswith("heldout/")}

    trained = {}
    if (targets := job.targets) is not None:
        trained["trained_tokens"] = sum(targets[i] for i in plan.trained(last))
    return {
        "seed": config.seed,
        "steps": last,
        "epochs": round(plan.epoch(last), 4),
        "examples": len(job.items),
        "held_out": len(job.held_out),
        "first_loss": updates[0]["loss"],
        "final_loss": updates[-1]["loss"],
        **ends("first"),
        **ends("final"),
        "tokens": int(tokens),
        **trained,
        "tokens_per_s": round(tokens / seconds, 1) if seconds else None,
        "data": dict(job.counts),
        "minutes": round(minutes, 3),
    }
