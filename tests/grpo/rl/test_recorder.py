"""The recorder's three parts, each alone, and the order in which they get a phase."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from grpo.algorithm.types import StepReport
from grpo.common.errors import GuardTripped
from grpo.config.rl import RlConfig
from grpo.rl.evaluate import summarize
from grpo.rl.loop import LoopState, PhaseRecord
from grpo.rl.recorder import RunFiles, Screen, make_recorder, run_summary
from grpo.stages.rl import announcing
from grpo.tracking.ledger_file import read_ledger
from rewards.scoring.monitor import Finding
from rewards.types import Score, ScoredGroup
from rollout.ledger import Ledger
from rollout.types import Prompt, Sample, SampleGroup


def scored() -> ScoredGroup:
    samples = tuple(
        Sample("p", i, np.arange(3, dtype=np.int32), np.zeros(3, np.float32), "<answer>1</answer>", "stop", i, 0, 0)
        for i in range(2)
    )  # fmt: skip
    scores = tuple(Score(x, {"accuracy": x}) for x in (1.0, 0.0))
    return ScoredGroup(SampleGroup(Prompt("p", "q", (1,), "1"), samples), scores)


def phase(end: int, tokens: int = 0, mismatch: float = 1e-6) -> PhaseRecord:
    """Two updates, the last of which is update `end`."""
    reports = tuple(StepReport(step, {"loss": float(step)}) for step in (end - 2, end - 1))
    metrics = {"reward/total": 0.5, "logprob_mismatch/mean": mismatch}
    return PhaseRecord(
        end=LoopState(step=end, tokens=tokens),
        metrics=metrics,
        reports=reports,
        scored=(scored(),),
        advantages={(0, 0): 1.0, (0, 1): -1.0},
    )


def files(folder: Path, start: int = 0) -> tuple[RunFiles, Ledger]:
    ledger = Ledger()
    return RunFiles(folder, LoopState(step=start), "hash", ledger.rows), ledger


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_hold_a_row_per_update_and_the_phase_in_the_last(tmp_path: Path) -> None:
    made, ledger = files(tmp_path)
    ledger.open("train/0/0/0", worker=0).state = "done"
    made.write_phase(phase(2))
    first, last = rows(tmp_path / "metrics.jsonl")
    assert first == {"step": 1, "loss": 0.0}
    assert last == {"step": 2, "reward/total": 0.5, "logprob_mismatch/mean": 1e-6, "loss": 1.0}
    assert [
        r["advantage"] for r in pq.read_table(tmp_path / "samples" / "step-000002.parquet").to_pylist()
    ] == [1, -1]
    assert [r.chunk for r in read_ledger(tmp_path / "ledger.jsonl")] == ["train/0/0/0"]
    assert [r["step"] for r in rows(tmp_path / "ledger.jsonl")] == [2]


def test_the_last_evaluation_is_in_the_ledger(tmp_path: Path) -> None:
    """Before, the ledger was written with each phase only, and the attempts of the last evaluation were lost."""
    made, ledger = files(tmp_path)
    made.write_phase(phase(2))
    ledger.open("eval/2/0", worker=0).state = "done"
    made.write_eval(summarize(2, [scored()], "accuracy"), [scored()])
    assert [(r["step"], r["chunk"]) for r in rows(tmp_path / "ledger.jsonl")] == [(2, "eval/2/0")]


def test_files_of_a_resumed_run_hold_each_step_once(tmp_path: Path) -> None:
    made, ledger = files(tmp_path)
    made.write_eval(summarize(0, [scored()], "accuracy"), [scored()])
    for end in (2, 4):
        ledger.open(f"train/{end - 2}/0/0", worker=0).state = "done"
        made.write_phase(phase(end))
    made, ledger = files(tmp_path, start=2)
    ledger.open("train/2/0/0", worker=0).state = "done"
    made.write_phase(phase(4))
    assert [r["step"] for r in rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert [r["step"] for r in rows(tmp_path / "eval.jsonl")] == [0]
    assert [r["chunk"] for r in rows(tmp_path / "ledger.jsonl")] == ["train/0/0/0", "train/2/0/0"]
    files(tmp_path, start=0)  # no checkpoint: everything is done again, the evaluation of step 0 too
    assert (
        not rows(tmp_path / "metrics.jsonl") + rows(tmp_path / "eval.jsonl") + rows(tmp_path / "ledger.jsonl")
    )


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def screen(start: int, steps: int = 100, budget: int | None = None) -> tuple[Screen, Clock, list[str]]:
    clock, shown = Clock(), []  # type: ignore[var-annotated]
    return Screen(steps, budget, LoopState(step=start), clock, shown.append), clock, shown


@pytest.mark.parametrize(
    ("start", "end", "tokens", "budget", "left"),
    [
        (0, 10, 0, None, 90.0),  # 10 s for 10 updates, 90 to do
        (10, 20, 0, None, 80.0),  # a resumed run counts its own updates only
        (0, 10, 50, 100, 10.0),  # half of the tokens took 10 updates
        (0, 10, 50, 10**9, 90.0),  # the updates end first
        (0, 10, 200, 100, 0.0),
        (0, 100, 0, None, 0.0),
    ],
)
def test_the_time_left_follows_updates_or_tokens(
    start: int, end: int, tokens: int, budget: int | None, left: float
) -> None:
    made, clock, _ = screen(start, budget=budget)
    made.begin()
    clock.now += float(end - start)
    assert made.eta_s(LoopState(step=end, tokens=tokens)) == pytest.approx(left)


@pytest.mark.parametrize("start", [0, 10])
def test_the_start_of_engines_and_the_first_evaluation_are_no_time_of_updates(start: int) -> None:
    made, clock, shown = screen(start)
    clock.now += 1000.0
    made.show_eval(summarize(start, [scored()], "accuracy"))
    assert "pass@1 [bold]0.500[/]" in shown[0]
    on_part = announcing(lambda part, step: None, made.begin)
    clock.now += 1000.0
    on_part("rollout", start)
    clock.now += 10.0
    assert made.eta_s(LoopState(step=start + 10)) == pytest.approx(90.0 - start)
    clock.now += 5.0
    made.show_eval(summarize(start + 10, [scored()], "accuracy"))  # a later evaluation is
    on_part("rollout", start + 10)
    assert made.eta_s(LoopState(step=start + 10)) == pytest.approx(1.5 * (90.0 - start))


def test_a_warning_is_shown_once_and_as_text() -> None:
    made, _, shown = screen(0)
    made.warn([Finding("constant", "format", "format [is] constant")])
    made.warn([Finding("constant", "format", "again"), Finding("constant", "accuracy", "another")])
    assert shown == ["[yellow]warning[/] format \\[is] constant", "[yellow]warning[/] another"]


def config(run_dir: Path) -> RlConfig:
    return RlConfig.model_validate(
        {"run_dir": run_dir, "policy": {"model": "none"}, "data": {"source": "chain"}, "steps": 10,
         "rewards": ({"name": "accuracy"},), "algorithm": {"questions_per_step": 1, "group_size": 2}}
    )  # fmt: skip


@pytest.mark.parametrize(("dtype", "trips"), [("float32", True), ("bfloat16", False)])
def test_a_phase_that_trips_a_guard_is_on_disk(dtype: str, trips: bool, tmp_path: Path) -> None:
    """A mismatch of 0.01 nats is a fault in float32 and rounding in bfloat16."""
    recorder = make_recorder(
        config(tmp_path), LoopState(), compute_dtype=dtype, model="hash", attempts=Ledger().rows
    )
    try:
        recorder.on_phase(phase(2, mismatch=0.01))
        tripped = False
    except GuardTripped:
        tripped = True
    assert tripped == trips
    assert [r["step"] for r in rows(tmp_path / "metrics.jsonl")] == [1, 2]
    assert (tmp_path / "samples" / "step-000002.parquet").exists()


def test_the_summary_compares_the_first_evaluation_with_the_last(tmp_path: Path) -> None:
    made, _ = files(tmp_path)
    made.write_eval(summarize(0, [scored()], "accuracy"), [scored()])
    made.write_phase(phase(2, mismatch=1e-6))
    made.write_phase(phase(4, mismatch=3e-6))
    right = ScoredGroup(scored().group, (Score(1.0, {"accuracy": 1.0}),) * 2)
    made.write_eval(summarize(4, [right], "accuracy"), [right])
    summary = run_summary(
        7, LoopState(step=4, tokens=12), made.metrics, worker_restarts=1, minutes=1.23456, best={}
    )
    assert (summary["seed"], summary["steps"], summary["trained_tokens"]) == (7, 4, 12)
    assert (summary["base_pass1"], summary["final_pass1"]) == (0.5, 1.0)
    assert summary["logprob_mismatch_mean"] == 3e-6
    assert summary["logprob_mismatch_max"] is None
    assert (summary["worker_restarts"], summary["minutes"]) == (1, 1.235)
    empty, _ = files(tmp_path / "other")
    assert run_summary(7, LoopState(), empty.metrics, 0, 0.0, {})["base_pass1"] is None
