"""The RL loop with `[best]`: which steps are saved, what is protected, and where the run ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grpo.rl.loop import LoopState
from rewards.types import Score
from rollout.types import Sample
from tests.grpo.rl.scripted import Run, run_loop

PASS1 = {0: 0.9, 2: 0.25, 4: 0.75, 6: 0.5, 8: 0.5, 10: 1.0}
"""By the updates that the policy has had."""


def score(sample: Sample) -> Score:
    """In training like `by_seed`; in an evaluation of 8 samples, the share that PASS1 has is right."""
    if sample.prompt_id.startswith("h"):
        value = float(sample.index < 8 * PASS1[sample.version_first])
        return Score(value, {"accuracy": value})
    value = sample.seed % 101 / 7
    return Score(value, {"accuracy": value})


def run(run_dir: Path, start: int = 0, **best: Any) -> Run:
    return run_loop(
        {
            "steps": 10,
            "eval": {"every_steps": 2, "samples": 8},
            "checkpoint": {"every_phases": 5},
            "best": {"metric": "eval/pass@1", **best},
        },
        held_out=1,
        score=score,
        start=LoopState(step=start, cursor=3 * start),
        run_dir=run_dir,
    )


def test_the_best_evaluations_have_checkpoints_beside_the_regular_ones(tmp_path: Path) -> None:
    done = run(tmp_path, keep=2)
    assert [s.step for s in done.learners.checkpoints] == [2, 4, 5, 6, 10]
    assert done.learners.protected == [(2,), (4, 2), (4, 2), (4, 6), (10, 4)]


def test_a_run_without_the_section_saves_as_before(tmp_path: Path) -> None:
    done = run_loop({"steps": 10, "checkpoint": {"every_phases": 5}}, run_dir=tmp_path)
    assert [s.step for s in done.learners.checkpoints] == [5, 10]
    assert done.learners.protected == [(), ()]
    assert not (tmp_path / "best.jsonl").exists()


def test_early_stop_ends_the_run_with_an_evaluation_and_a_checkpoint(tmp_path: Path) -> None:
    done = run(tmp_path, patience=2)
    assert done.end is not None
    assert done.end.step == 8
    assert done.learners.checkpoints[-1] == done.end
    assert done.evals[-1].step == 8
    rows = [json.loads(line) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert [(row["step"], row["value"]) for row in rows] == [(2, 0.25), (4, 0.75), (6, 0.5), (8, 0.5)]


def test_a_stopped_run_stays_stopped_until_its_patience_is_raised(tmp_path: Path) -> None:
    run(tmp_path, patience=2)
    again = run(tmp_path, start=8, patience=2)
    assert again.end is not None
    assert again.end.step == 8
    assert again.phases == []
    longer = run(tmp_path, start=8, patience=3)
    assert longer.end is not None
    assert longer.end.step == 10
    assert longer.learners.protected[-1] == (10,)


@pytest.mark.parametrize("start", [2, 4, 5, 6])
def test_a_resumed_run_saves_and_stops_where_the_whole_one_does(tmp_path: Path, start: int) -> None:
    whole = run(tmp_path, patience=2, keep=2)
    resumed = run(tmp_path, start=start, patience=2, keep=2)
    assert resumed.end is not None
    assert whole.end is not None
    assert resumed.end.step == whole.end.step == 8
    later = [s.step for s in whole.learners.checkpoints if s.step > start]
    assert [s.step for s in resumed.learners.checkpoints] == later
    assert resumed.learners.protected == whole.learners.protected[-len(later) :]


def test_a_stop_by_a_metric_of_every_phase_is_evaluated_too(tmp_path: Path) -> None:
    settings = {
        "steps": 10,
        "eval": {"every_steps": 100, "samples": 8},
        "checkpoint": {"every_phases": 3},
        "best": {"metric": "loss", "patience": 1},
    }
    done = run_loop(
        settings, held_out=1, run_dir=tmp_path, score=lambda s: Score(float(s.index % 2), {"accuracy": 1.0})
    )
    assert done.end is not None
    assert done.end.step == 6
    assert [e.step for e in done.evals] == [0, 6]
