"""The best checkpoints and early stop, against an oracle that plays every run step by step."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.common.errors import ConfigError
from grpo.config.best import BestConfig
from grpo.tracking.best import BestKeeper, Verdict, check_best, ranking, stop_reason
from grpo.tracking.metrics import METRICS, describe, rl_names

VALUES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, -2.0]), min_size=1, max_size=12)
CONFIGS = st.builds(
    BestConfig,
    metric=st.just("eval/pass@1"),
    mode=st.sampled_from(["max", "min"]),
    keep=st.integers(1, 4),
    patience=st.none() | st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.25, 0.3]),
)


def kept_by_insertion(values: list[float], config: BestConfig) -> list[int]:
    """Walk through the run with a list of the best so far; a new one goes before the first that it beats."""
    kept: list[int] = []
    for step, value in enumerate(values):
        place = len(kept)
        for i, other in enumerate(kept):
            if value > values[other] if config.mode == "max" else value < values[other]:
                place = i
                break
        kept = [*kept[:place], step, *kept[place:]][: config.keep]
    return kept


def first_stop(values: list[float], config: BestConfig) -> int | None:
    """Return the judgement after which the run ends: no value of a whole window beats the reference before it."""
    if config.patience is None:
        return None
    reference, since = values[0], 0
    for i in range(1, len(values)):
        gain = values[i] - reference if config.mode == "max" else reference - values[i]
        if gain > config.min_delta:
            reference, since = values[i], i
        if i - since >= config.patience:
            return i
    return None


@given(VALUES, CONFIGS)
def test_the_ranking_is_that_of_the_oracle(values: list[float], config: BestConfig) -> None:
    assert list(ranking(list(enumerate(values)), config)) == kept_by_insertion(values, config)


@given(VALUES, CONFIGS)
def test_the_run_stops_where_the_oracle_does(values: list[float], config: BestConfig) -> None:
    stops = (i for i in range(len(values)) if stop_reason(list(enumerate(values))[: i + 1], config))
    assert next(stops, None) == first_stop(values, config)


@given(VALUES, CONFIGS, st.integers(0, 12), st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_a_resumed_run_judges_like_one_in_one_piece(
    values: list[float], config: BestConfig, killed_at: int, checkpoint: int
) -> None:
    """Killed after `killed_at` steps, it goes on from the last checkpoint before."""

    def judge(run_dir: Path, start: int, end: int) -> list[Verdict]:
        keeper = BestKeeper(run_dir, config, start)
        verdicts = []
        for step in range(start + 1, end + 1):
            keeper.measured(step, {"eval/pass@1": values[step - 1]})
            verdicts.append(keeper.judge(step, is_checkpoint=False))
        return verdicts

    killed_at = min(killed_at, len(values))
    resumed_at = min(checkpoint, killed_at)
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as cut:
        expected = judge(Path(whole), 0, len(values))
        before = judge(Path(cut), 0, killed_at)
        after = judge(Path(cut), resumed_at, len(values))
        assert before[:resumed_at] + after == expected
        assert (Path(cut) / "best.jsonl").read_text() == (Path(whole) / "best.jsonl").read_text()


@given(VALUES, CONFIGS)
@settings(max_examples=50, deadline=None)
def test_every_best_checkpoint_is_on_disk_at_every_time(values: list[float], config: BestConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        keeper, on_disk = BestKeeper(Path(folder), config, 0), set()
        for step, value in enumerate(values, 1):
            keeper.measured(step, {"eval/pass@1": value})
            verdict = keeper.judge(step, is_checkpoint=False)
            if verdict.save:
                on_disk = {*on_disk, step} & {step, *verdict.protected}
            assert on_disk == set(verdict.protected)
            assert keeper.best == (verdict.protected[0], values[verdict.protected[0] - 1])


def test_a_metric_of_every_phase_is_judged_at_checkpoints_and_only_there(tmp_path: Path) -> None:
    keeper = BestKeeper(tmp_path, BestConfig(metric="reward/total"), 0)
    for step, value in ((1, 5.0), (2, 1.0), (3, 9.0), (4, 2.0)):
        keeper.measured(step, {"reward/total": value})
        verdict = keeper.judge(step, is_checkpoint=step % 2 == 0)
    assert verdict == Verdict(save=True, protected=(4,), stop=None)
    assert keeper.best == (4, 2.0)


def test_what_was_not_measured_at_the_step_is_not_judged(tmp_path: Path) -> None:
    keeper = BestKeeper(tmp_path, BestConfig(metric="eval/pass@1", patience=1), 0)
    keeper.measured(0, {"eval/pass@1": 0.9})  # the base
    keeper.measured(1, {"eval/pass@1": float("nan"), "loss": 1.0})
    assert keeper.judge(1, is_checkpoint=True) == Verdict()
    keeper.measured(2, {"eval/pass@1": 0.5})
    assert keeper.judge(2, is_checkpoint=False).save
    assert keeper.judge(3, is_checkpoint=True) == Verdict(False, (2,), None)
    assert keeper.best == (2, 0.5)


def test_another_metric_starts_anew(tmp_path: Path) -> None:
    first = BestKeeper(tmp_path, BestConfig(metric="eval/pass@1"), 0)
    first.measured(1, {"eval/pass@1": 0.5})
    first.judge(1, is_checkpoint=False)
    assert BestKeeper(tmp_path, BestConfig(metric="eval/cons@k"), 1).best is None
    assert BestKeeper(tmp_path, BestConfig(metric="eval/pass@1"), 1).best == (1, 0.5)


def test_without_the_section_nothing_is_written_or_stopped(tmp_path: Path) -> None:
    keeper = BestKeeper(tmp_path, None, 0)
    keeper.measured(1, {"loss": 1.0})
    assert keeper.judge(1, is_checkpoint=True) == Verdict()
    assert keeper.summary(5) == {}
    assert keeper.exported_step(5) == 5
    assert list(tmp_path.iterdir()) == []


def test_the_summary_says_what_was_best_what_is_exported_and_why_it_stopped(tmp_path: Path) -> None:
    config = BestConfig(metric="heldout/loss", patience=2, export="best", min_delta=0.1)
    keeper = BestKeeper(tmp_path, config, 0)
    for step, value in ((10, 2.0), (20, 1.0), (30, 0.95), (40, 0.99)):
        keeper.measured(step, {"heldout/loss": value})
        keeper.judge(step, is_checkpoint=False)
    assert keeper.summary(40) == {
        "best": {"metric": "heldout/loss", "step": 30, "value": 0.95},
        "exported_step": 30,
        "stopped_early": "heldout/loss has not improved by more than 0.1 on 1 of step 20 in the last 2 judgements "
        "(best.patience = 2)",
    }


def test_many_small_improvements_count_together() -> None:
    config = BestConfig(metric="eval/pass@1", patience=3, min_delta=0.1)
    creeping = [(step, 0.05 * step) for step in range(20)]
    assert stop_reason(creeping, config) is None


@pytest.mark.parametrize(
    ("metric", "sign"),
    [("loss", -1), ("heldout/loss", -1), ("heldout/accuracy", 1), ("eval/pass@1", 1), ("reward/total", 1)],
)
def test_what_is_better_is_known_for_the_usual_metrics(metric: str, sign: int) -> None:
    assert BestConfig(metric=metric).sign == sign
    assert BestConfig(metric=metric, mode="min").sign == -1


@pytest.mark.parametrize(
    "metric",
    ["policy/kl", "eval/length", "lr", "reward_std/accuracy", "length/mean", "reward/abstained_share"],
)
def test_for_others_it_must_be_said(metric: str) -> None:
    names = rl_names(["accuracy"], samples=8)
    with pytest.raises(ConfigError, match=r"is more of it better, or less\? Set best\.mode"):
        check_best(BestConfig(metric=metric), names, 5)
    check_best(BestConfig(metric=metric, mode="min"), names, 5)
    assert BestConfig(metric=metric, mode="max").sign == 1


def test_a_metric_that_is_not_measured_is_an_error_before_the_run() -> None:
    names = rl_names(["accuracy", "format"], samples=8)
    check_best(None, names, 0)
    check_best(BestConfig(metric="eval/pass@1"), names, 5)
    check_best(BestConfig(metric="reward/accuracy"), names, 0)
    check_best(BestConfig(metric="reward_by_kind/general"), names, 0)
    with pytest.raises(ConfigError, match=r"'eval/pas@1' is not measured.*did you mean eval/pass@1\?\)$"):
        check_best(BestConfig(metric="eval/pas@1"), names, 5)
    with pytest.raises(ConfigError, match=r"'reward/acuracy' is not measured.*did you mean reward/accuracy"):
        check_best(BestConfig(metric="reward/acuracy"), names, 5)
    with pytest.raises(ConfigError, match=r"'heldout/loss' is not measured"):
        check_best(BestConfig(metric="heldout/loss"), names, 5)
    with pytest.raises(ConfigError, match=r"eval\.every_steps = 0"):
        check_best(BestConfig(metric="eval/pass@1"), names, 0)
    with pytest.raises(ConfigError, match=r"\[eval\.data\]"):
        check_best(BestConfig(metric="eval/pass@1"), rl_names(["accuracy"], samples=0), 5)


def test_every_name_of_an_rl_run_is_documented() -> None:
    names = rl_names(["accuracy"], samples=8)
    assert {name for name in names if not name.endswith("/") and describe(name) is None} == set()
    assert "eval/format" not in names
    assert [name for name in names if name.startswith("eval/pass@")] == [
        "eval/pass@1", "eval/pass@k", "eval/pass@2", "eval/pass@4", "eval/pass@8"
    ]  # fmt: skip
    assert {"eval/reward/accuracy", "reward_share/accuracy", "train/", "policy/clip_frac_dual"} <= set(names)
    assert not any("<" in name for name in names)
    assert len(METRICS) > 40
