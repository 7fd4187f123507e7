"""A dead reward stops the run in its first phase, before anything trains, with the first reason and its traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grpo.common.errors import GuardTripped, RunError
from grpo.rl.loop import LoopState
from grpo.stages.rl import refuse_untrained
from grpo.tracking.run_dir import has_begun
from grpo.tracking.samples import read_samples
from rewards.config import RewardConfig
from rewards.rows import RewardRow
from rewards.scoring.scorer import Scorer
from rewards.types import Score
from rollout.types import Sample
from tests.grpo.rl.scripted import by_seed, run_loop

TRACE = 'Traceback (most recent call last):\n  File "/mine.py", line 3, in exact\nKeyError: gold'
TWO = ({"name": "accuracy"}, {"name": "format"})


def raising(sample: Sample) -> Score:
    trace = TRACE if sample.index == 1 else ""
    return Score(
        None,
        {"accuracy": None, "format": 1.0},
        "error",
        "accuracy: raised KeyError (/mine.py:3)",
        trace=trace,
    )


def silent(sample: Sample) -> Score:
    return Score(None, {"accuracy": None, "format": 1.0}, "abstain", "accuracy: the reward returned None")


def late(sample: Sample) -> Score:
    return Score(None, {"accuracy": None}, "timeout", "accuracy: no verdict after 10 s")


def run(folder: Path, score: Callable[[Sample], Score], **settings: Any) -> None:
    run_loop({"steps": 4, "rewards": TWO, **settings}, prompts=4, score=score, run_dir=folder)


@pytest.mark.parametrize(
    ("score", "says"),
    [
        (
            raising,
            r"^every one of 12 verdicts is an error: accuracy: raised KeyError \(/mine\.py:3\)\nTraceback",
        ),
        (late, r"^every one of 12 verdicts is an error: accuracy: no verdict after 10 s\n"),
        (
            silent,
            r"^reward accuracy has given no value for any of 12 samples: accuracy: the reward returned None\n",
        ),
    ],
)
def test_a_dead_reward_stops_the_first_phase(
    score: Callable[[Sample], Score], says: str, tmp_path: Path
) -> None:
    with pytest.raises(GuardTripped, match=says) as caught:
        run(tmp_path, score)
    assert (TRACE in str(caught.value)) == (score is raising)
    (samples,) = (tmp_path / "samples").iterdir()
    assert str(samples) in str(caught.value)
    assert len(list(read_samples(samples))) == 12
    assert not has_begun(tmp_path), "another recipe may take the folder"


def test_a_reward_that_dies_later_stops_the_run_there(tmp_path: Path) -> None:
    def score(sample: Sample) -> Score:
        return by_seed(sample) if sample.version_last < 2 else raising(sample)

    with pytest.raises(GuardTripped, match="every one of 12 verdicts is an error"):
        run(tmp_path, score)
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2


def test_what_gives_values_for_some_or_has_given_them_before_is_not_dead(tmp_path: Path) -> None:
    def score(sample: Sample) -> Score:
        good = Score(by_seed(sample).total, {"accuracy": 1.0, "format": 1.0})
        return good if sample.version_last == 0 or sample.index else silent(sample)

    run(tmp_path / "some", score)

    def later(sample: Sample) -> Score:
        return score(sample) if sample.version_last == 0 else silent(sample)

    run(tmp_path / "before", later)


def test_a_measured_component_and_one_that_does_not_apply_decide_nothing(tmp_path: Path) -> None:
    def measured(sample: Sample) -> Score:
        return Score(by_seed(sample).total, {"accuracy": 1.0, "format": None})

    run(tmp_path / "measured", measured, rewards=({"name": "accuracy"}, {"name": "format", "weight": 0.0}))
    run(tmp_path / "elsewhere", by_seed, rewards=({"name": "accuracy"}, {"name": "format", "start_step": 3}))


def test_an_evaluation_whose_reward_is_silent_stops_the_run(tmp_path: Path) -> None:
    settings = {"eval": {"data": {"source": "chain", "split": "held-out"}, "samples": 2}}

    def score(sample: Sample) -> Score:
        return silent(sample) if sample.prompt_id.startswith("h") else by_seed(sample)

    from grpo.rl.recorder import make_recorder
    from rollout.ledger import Ledger
    from tests.grpo.rl.scripted import make_config

    run_ = run_loop({"steps": 1, **settings}, held_out=2, score=score)
    config = make_config({"steps": 1, "run_dir": tmp_path, **settings})
    recorder = make_recorder(config, LoopState(), compute_dtype="float32", model=None, attempts=Ledger().rows)
    assert run_.evals
    with pytest.raises(GuardTripped, match="reward accuracy has given no value for any of 4 samples"):
        recorder.on_eval(run_.evals[0], run_.scored_evals[0])


def test_a_run_that_trained_on_nothing_is_a_failure() -> None:
    with pytest.raises(RunError, match=r"trained on nothing: in 8 updates no sample"):
        refuse_untrained(LoopState(8, 24, 0))
    refuse_untrained(LoopState(8, 24, 1))
    refuse_untrained(LoopState())


RAISES = """
def lookup(row):
    return {}["gold"]

def by_row(row):
    return lookup(row)

def by_batch(batch):
    return [lookup(row) for row in batch.completions]
"""


@pytest.mark.parametrize("function", ["by_row", "by_batch"])
def test_a_reward_that_raises_gives_file_line_and_traceback_through_its_process(
    function: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(RAISES)
    with Scorer([RewardConfig(name=f"{file}:{function}")]) as scorer:
        scores = scorer.score_rows([RewardRow("one"), RewardRow("two"), RewardRow("three")])
    assert {score.reason for score in scores} == {f"{function}: raised KeyError: 'gold' ({file}:3)"}
    assert [bool(score.trace) for score in scores] == [True, False, False], "once for equal errors of a call"
    assert f'File "{file}", line 3, in lookup' in scores[0].trace
    assert scores[0].trace.endswith("KeyError: 'gold'")
    assert "signatures.py" not in scores[0].trace
