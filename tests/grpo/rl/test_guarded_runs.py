"""Each guard against a run that it must stop, or warn of, and a healthy run that it must leave alone: through the loop,
with the recorder and the guards of `grpo rl`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from grpo.cli import _guarded
from grpo.common.errors import GuardTripped
from grpo.rl.loop import LoopState
from grpo.tracking.jsonl import read_rows
from rewards.types import Score
from rollout.types import Sample
from tests.grpo.rl.scripted import HEALTHY, Run, as_drawn, by_seed, run_loop

STEPS = 8


@dataclass(frozen=True)
class Script:
    """A run that goes wrong, and what must be said of it."""

    says: str
    """Regular expression: cause, figure, bound, config key."""
    after: int
    """Updates done when it must be said."""
    report: Callable[[int], dict[str, float]] = lambda step: {}
    """Changes to what a healthy update reports."""
    change: Callable[[Sample], Sample] = as_drawn
    score: Callable[[Sample], Score] = by_seed
    settings: dict[str, Any] = field(default_factory=dict)

    def run(self, folder: Path, steps: int = STEPS, start: LoopState = LoopState()) -> Run:  # noqa: B008 - frozen
        return run_loop(
            {"steps": steps, **self.settings},
            prompts=8,
            score=self.score,
            change=self.change,
            report=lambda step: HEALTHY | self.report(step),
            run_dir=folder,
            start=start,
        )


def cut(sample: Sample) -> Sample:
    return replace(sample, finish_reason="length")


def older(sample: Sample) -> Sample:
    """Begun by the version before, once there is one."""
    return replace(sample, version_first=max(sample.version_first - 1, 0))


def no_verdict(sample: Sample) -> Score:
    """Three of four samples are without a verdict."""
    return by_seed(sample) if sample.index == 0 else Score(None, {"accuracy": None}, "abstain", "unreadable")


def equal(sample: Sample) -> Score:
    """Every group has equal rewards, and the groups differ."""
    value = int(sample.prompt_id[1:]) / 7
    return Score(value, {"accuracy": value})


def falling(sample: Sample) -> Score:
    """A reward that falls with every version of the policy."""
    value = by_seed(sample).total or 0.0
    return Score(value - 20.0 * sample.version_last, {"accuracy": value - 20.0 * sample.version_last})


def rising(sample: Sample) -> Score:
    value = by_seed(sample).total or 0.0
    return Score(value + 20.0 * sample.version_last, {"accuracy": value + 20.0 * sample.version_last})


def exponential(rate: float) -> Callable[[int], dict[str, float]]:
    """An entropy that starts at 0.8 nats and changes by this much of its logarithm per update."""
    return lambda step: {"policy/entropy": 0.8 * math.exp(rate * step)}


FATAL = {
    "truncation": Script(
        r"100% of completions hit the length limit over the last 5 phases \(bound 90%, guards\.max_truncated\); "
        r"raise sampling\.max_tokens",
        after=5,
        change=cut,
    ),
    "abstention": Script(
        r"75% of samples got no verdict over the last 5 phases \(bound 50%, guards\.max_abstained\)",
        after=5,
        score=no_verdict,
    ),
    "zero variance": Script(
        r"100% of groups have rewards without variance.*bound 90%, guards\.max_zero_variance",
        after=5,
        score=equal,
        settings={"guards": {"max_zero_variance": 0.9}},
    ),
    "log-prob mismatch": Script(
        r"mean \|Δ log-prob\| 0\.002 > 0\.001 nats \(guards\.max_logprob_mismatch\)",
        after=3,
        report=lambda step: {"logprob_mismatch/mean": 2e-3 if step == 2 else 1e-6},
    ),
    "mismatch that is no number": Script(
        r"not finite: logprob_mismatch/mean = nan",
        after=1,
        report=lambda step: {"logprob_mismatch/mean": math.nan},
    ),
    "loss that is no number": Script(
        r"not finite: loss = nan \(bound: .*lower optimizer\.lr",
        after=2,
        report=lambda step: {"loss": math.nan if step == 1 else 0.0},
    ),
    "infinite gradient in the first of two updates": Script(
        r"not finite: grad_norm = inf",
        after=4,
        report=lambda step: {"grad_norm": math.inf if step == 2 else 0.5},
        settings={"algorithm": {"mini_batches": 2}},
    ),
    "zero gradient": Script(
        r"100% of the updates over the last 5 phases had a gradient of exactly zero \(bound 95%, "
        r"guards\.max_zero_gradient\), although 100% of the groups have variance",
        after=5,
        report=lambda step: {"zero_gradient": 1.0, "grad_norm": 0.0, "policy/clip_frac": 0.2},
    ),
    "clip fraction": Script(
        r"the clip takes the gradient from 60% of the tokens over the last 5 phases \(bound 50%, "
        r"guards\.max_clip_frac\)",
        after=5,
        report=lambda step: {"policy/clip_frac": 0.6},
        settings={"guards": {"max_clip_frac": 0.5}},
    ),
    "explosion of the entropy": Script(
        r"the entropy rises from 0\.8 to 8\.8 nats over the last 5 phases while the reward does not rise: 0\.60 of "
        r"its logarithm per update \(bound 0\.5, guards\.max_entropy_rise\)",
        after=5,
        report=exponential(0.6),
        score=falling,
    ),
    "collapse of the entropy": Script(
        r"the entropy falls from 0\.8 to 0\.24 nats over the last 5 phases while the reward does not rise: 0\.30 of "
        r"its logarithm per update \(bound 0\.25, guards\.max_entropy_fall\)",
        after=5,
        report=exponential(-0.3),
        score=falling,
        settings={"guards": {"max_entropy_fall": 0.25}},
    ),
    "stale data": Script(
        r"stale samples: the oldest was begun 2 updates before the end of its phase \(bound 1, "
        r"guards\.max_staleness",
        after=2,
        change=older,
    ),
    "stale data of several updates": Script(
        r"stale samples: the oldest was begun 3 updates before .*bound 2, guards\.max_staleness",
        after=4,
        change=older,
        settings={"algorithm": {"mini_batches": 2}},
    ),
}

WARNED = {
    "zero variance": Script(
        r"no group has had any variance in reward over the last 5 phases.*guards\.max_zero_variance",
        after=5,
        score=equal,
        report=lambda step: {"zero_gradient": 1.0, "grad_norm": 0.0},
    ),
    "clip fraction": Script(
        r"the clip takes the gradient from 40% of the tokens .*\(bound 30%, guards\.warn_clip_frac\)",
        after=5,
        report=lambda step: {"policy/clip_frac": 0.4},
    ),
    "collapse of the entropy": Script(
        r"the entropy falls from 0\.8 to 0\.24 nats .*\(bound 0\.15, guards\.warn_entropy_fall\)",
        after=5,
        report=exponential(-0.3),
        score=falling,
    ),
    "rise of the entropy": Script(
        r"the entropy rises from 0\.8 to 2\.7 nats .*\(bound 0\.2, guards\.warn_entropy_rise\)",
        after=5,
        report=exponential(0.3),
        score=falling,
    ),
}

HEALTHY_RUNS = {
    "nothing out of the ordinary": Script("", STEPS),
    "one phase of each fault": Script(
        "",
        STEPS,
        change=lambda s: cut(s) if s.version_last == 3 else s,
        score=lambda s: no_verdict(s) if s.version_last == 4 and s.index < 3 else by_seed(s),
        report=lambda step: {
            "zero_gradient": float(step == 5),
            "policy/clip_frac": float(step == 6) * 0.9,
            "policy/entropy": 2.0 if step == 4 else 0.8,
        },
    ),
    "a collapse with a rising reward": Script("", STEPS, report=exponential(-0.6), score=rising),
    "noise of an entropy near zero": Script(
        "", STEPS, report=lambda step: {"policy/entropy": 1e-3 * 3.0 ** (step % 3)}, score=falling
    ),
    "several updates a phase": Script(
        "",
        STEPS,
        report=lambda step: {"zero_gradient": float(step % 2)},
        settings={"algorithm": {"mini_batches": 4}},
    ),
    "dynamic sampling": Script(
        "",
        STEPS,
        score=lambda s: equal(s) if s.prompt_id in ("p0", "p1") else by_seed(s),
        settings={"algorithm": {"dynamic_sampling": True}},
    ),
    "an age that the recipe allows": Script(
        "", STEPS, change=older, settings={"guards": {"max_staleness": 2}}
    ),
}


@pytest.mark.parametrize("name", FATAL)
def test_a_run_that_is_broken_stops_with_cause_figure_bound_and_key(name: str, tmp_path: Path) -> None:
    script = FATAL[name]
    with pytest.raises(GuardTripped, match=script.says):
        script.run(tmp_path)
    assert read_rows(tmp_path / "metrics.jsonl")[-1]["step"] == script.after  # written before the guard stops
    assert (tmp_path / "samples" / f"step-{script.after:06d}.parquet").exists()


@pytest.mark.parametrize("name", WARNED)
def test_a_run_that_may_recover_goes_on_with_one_warning(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = WARNED[name]
    run = script.run(tmp_path)
    assert run.end is not None
    assert run.end.step == STEPS
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len([line for line in warnings if re.search(script.says, line)]) == 1, warnings


@pytest.mark.parametrize("name", HEALTHY_RUNS)
def test_a_healthy_run_ends_without_a_word(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = HEALTHY_RUNS[name].run(tmp_path)
    assert run.end is not None
    assert run.end.step == STEPS
    assert "warning" not in capsys.readouterr().out


def test_a_guard_is_one_error_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command(standalone_mode: bool) -> None:
        FATAL["truncation"].run(tmp_path)

    assert _guarded(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        rf"error {FATAL['truncation'].says}\. Keys of \[guards\] may change .*--allow-change", line
    )


@pytest.mark.parametrize("name", [n for n in FATAL if FATAL[n].after >= 5])
@pytest.mark.parametrize("kept", [1, 4])
def test_a_resumed_run_is_judged_together_with_what_it_did_before(
    name: str, kept: int, tmp_path: Path
) -> None:
    """Resumed after `kept` phases, from a checkpoint before the one that stops it, it stops where it stopped before."""
    script = FATAL[name]
    with pytest.raises(GuardTripped) as first:
        script.run(tmp_path)
    with pytest.raises(GuardTripped) as second:
        script.run(tmp_path, start=LoopState(step=kept, cursor=3 * kept, tokens=36 * kept))
    assert str(second.value) == str(first.value)
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5]


def test_a_reward_that_was_learnt_before_a_restart_is_not_called_constant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A side reward that varied once and is 1 throughout has been learnt, whichever process saw it vary."""

    def score(sample: Sample) -> Score:
        main, side = sample.seed % 101 / 7, float(sample.version_last > 1 or sample.index == 0)
        return Score(main + side, {"accuracy": main, "format": side})

    settings = {
        "rewards": ({"name": "accuracy"}, {"name": "format"}),
        "audit": {"max_length_correlation": 1.0},
    }
    script = Script("", STEPS, score=score, settings=settings)
    script.run(tmp_path, steps=2)
    script.run(tmp_path, start=LoopState(step=2, cursor=6, tokens=72))
    assert "warning" not in capsys.readouterr().out
