"""Dynamic sampling: what is drawn and thrown away is counted, stored and judged, and the run stays repeatable."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.common.errors import GuardTripped
from grpo.rl.loop import LoopState, PhaseRecord
from grpo.tracking.metrics import describe
from rewards.types import Score, ScoredGroup
from rollout.types import Sample
from tests.grpo.rl.scripted import LENGTH, Run, by_seed, longer, run_loop

EASY = ("p0", "p1", "p2", "p3")
"""Prompts whose samples are all right: half of them."""


def solved(*names: str) -> Any:
    """A reward that is 1 on every sample of these prompts, and differs inside the groups of the others."""

    def score(sample: Sample) -> Score:
        return Score(1.0, {"accuracy": 1.0}) if sample.prompt_id in names else by_seed(sample)

    return score


def run(easy: tuple[str, ...] = EASY, rounds: int = 8, **options: Any) -> Run:
    """8 prompts, 3 groups a step of 4 samples; the replies to easy prompts have 5 tokens, the others 3."""
    dynamic = {"dynamic_sampling": True, "dynamic_sampling_max_rounds": rounds}
    settings = {"steps": 3, **options.pop("settings", {})}
    settings["algorithm"] = dynamic | settings.get("algorithm", {})
    return run_loop(
        settings,
        prompts=8,
        score=options.pop("score", solved(*easy)),
        change=options.pop("change", lambda s: longer(s, 5) if s.prompt_id in easy else s),
        **options,
    )


def ids(groups: tuple[ScoredGroup, ...]) -> list[str]:
    return [group.group.prompt.id for group in groups]


def drawn(run: Run, phase: PhaseRecord) -> list[str]:
    """Prompts that the rollout workers were asked for in the phase, in order."""
    version = phase.end.step - len(phase.reports)
    return [p.id for c in run.rollouts.chunks if c.policy_version == version for p in c.prompts]


def test_discarded_groups_are_in_the_figures_of_the_phase() -> None:
    outcome = run()
    assert sum(len(phase.discarded) for phase in outcome.phases) > 3, "the script must discard something"
    for phase in outcome.phases:
        metrics, asked = phase.metrics, drawn(outcome, phase)
        easy = [name for name in asked if name in EASY]
        assert Counter(ids(phase.discarded)) == Counter(easy)
        assert len(phase.scored) == 3
        assert not set(ids(phase.scored)) & set(EASY)
        assert metrics["tokens/rollout"] == 4 * (5 * len(easy) + LENGTH * 3)
        assert metrics["length/max"] == (5 if easy else LENGTH)
        assert metrics["length/mean"] == pytest.approx(metrics["tokens/rollout"] / 4 / len(asked))
        assert metrics["group/zero_variance_share"] == pytest.approx(len(easy) / len(asked))
        totals = [score.total for g in (*phase.scored, *phase.discarded) for score in g.scores]
        assert metrics["reward/total"] == pytest.approx(sum(t for t in totals if t is not None) / len(totals))
        assert metrics["sampling/discarded_groups"] == len(easy)
        assert metrics["sampling/discarded_tokens"] == 4 * 5 * len(easy)
        assert metrics["sampling/filled_groups"] == 0
        assert (metrics["train/groups"], metrics["train/samples"]) == (3, 12)
        assert all(describe(name) is not None for name in metrics)


def test_without_it_nothing_of_it_is_reported() -> None:
    outcome = run_loop({"steps": 1}, prompts=8, score=solved(*EASY))
    assert not [name for name in outcome.phases[0].metrics if name.startswith("sampling/")]
    assert outcome.phases[0].discarded == ()


def test_each_round_draws_what_is_missing_under_a_name_of_its_own() -> None:
    """No chunk id and no seed comes twice, so that ledger, redoing and sampling tell the rounds apart."""
    outcome = run()
    chunks = outcome.rollouts.chunks
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    seeds = [seed for chunk in chunks for group in chunk.seeds for seed in group]
    assert len(set(seeds)) == len(seeds)
    for phase in outcome.phases:
        step = phase.end.step - 1
        rounds = [c for c in chunks if c.policy_version == step]
        assert [c.id for c in rounds] == [f"train/{step}/{i}/0" for i in range(len(rounds))]
        assert phase.metrics["sampling/rounds"] == len(rounds)
        missing = 3
        for chunk in rounds:
            assert len(chunk.prompts) == missing
            missing -= sum(p.id not in EASY for p in chunk.prompts)
        assert missing == 0


def test_groups_without_a_verdict_are_discarded_and_seen() -> None:
    def score(sample: Sample) -> Score:
        silent = sample.prompt_id in EASY
        return Score(None, {"accuracy": None}, "abstain", "unreadable") if silent else by_seed(sample)

    outcome = run(score=score)
    for phase in outcome.phases:
        asked = drawn(outcome, phase)
        share = sum(name in EASY for name in asked) / len(asked)
        assert phase.metrics["reward/abstained_share"] == pytest.approx(share)
        assert phase.metrics["train/abstained"] == 0


@pytest.mark.parametrize("zero_variance", ["keep", "drop"])
def test_when_the_rounds_run_out_the_last_one_fills_the_phase(zero_variance: str) -> None:
    """No prompt has variance but p7: 3 rounds discard, the 4th is kept as it is; "drop" then leaves it out."""
    easy = tuple(f"p{i}" for i in range(7))
    outcome = run(easy, rounds=4, settings={"algorithm": {"zero_variance": zero_variance}})
    ran_out = [phase for phase in outcome.phases if phase.metrics["sampling/rounds"] == 4]
    assert ran_out
    for phase in ran_out:
        asked = drawn(outcome, phase)
        hard = asked.count("p7")
        assert len(phase.scored) == 3
        filled = [name for name in ids(phase.scored) if name != "p7"]
        assert phase.metrics["sampling/filled_groups"] == len(filled) == 3 - hard
        assert len(phase.discarded) == len(asked) - 3
        kept = zero_variance == "keep"
        assert phase.metrics["train/groups"] == (3 if kept else hard)
        assert phase.metrics["train/zero_variance_groups"] == (0 if kept else len(filled))


@pytest.mark.parametrize("rounds", [1, 2, 8])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_goes_on_behind_what_it_has_drawn(rounds: int, stop: int) -> None:
    """Stopped after `stop` phases and resumed, it draws, discards and trains the same as in one piece."""
    whole = run(rounds=rounds)
    first = run(rounds=rounds, settings={"steps": stop})
    (saved,) = first.learners.checkpoints
    state = LoopState(step=saved.step, **saved.extra())
    assert state.cursor == sum(len(drawn(first, phase)) for phase in first.phases)
    rest = run(rounds=rounds, start=state)
    assert [c.id for c in (*first.rollouts.chunks, *rest.rollouts.chunks)] == [
        c.id for c in whole.rollouts.chunks
    ]
    assert [c.prompts for c in rest.rollouts.chunks] == [
        c.prompts for c in whole.rollouts.chunks[len(first.rollouts.chunks) :]
    ]
    assert [ids(p.discarded) for p in rest.phases] == [ids(p.discarded) for p in whole.phases[stop:]]
    assert [p.advantages for p in rest.phases] == [p.advantages for p in whole.phases[stop:]]
    assert rest.end == whole.end


def test_the_token_budget_counts_what_trains() -> None:
    """72 tokens are two phases of 36, however many were discarded beside them."""
    outcome = run(settings={"steps": 9, "token_budget": 72})
    assert outcome.end is not None
    assert (outcome.end.step, outcome.end.tokens) == (2, 72)
    assert sum(phase.metrics["tokens/rollout"] for phase in outcome.phases) > 72


def test_samples_on_disk_hold_what_was_discarded_marked(tmp_path: Path) -> None:
    outcome = run(run_dir=tmp_path)
    for phase in outcome.phases:
        rows = pq.read_table(tmp_path / "samples" / f"step-{phase.end.step:06d}.parquet").to_pylist()
        marked = [row for row in rows if row["discarded"]]
        assert Counter(row["prompt_id"] for row in rows) == Counter(4 * drawn(outcome, phase))
        assert {row["prompt_id"] for row in marked} == set(ids(phase.discarded))
        assert all(row["advantage"] is None and row["total"] == 1.0 for row in marked)
        assert all(row["advantage"] is not None for row in rows if not row["discarded"])
        assert sum(row["tokens"] for row in rows) == phase.metrics["tokens/rollout"]


def test_the_live_line_says_what_was_discarded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(tuple(f"p{i}" for i in range(7)), rounds=3, settings={"steps": 6}, run_dir=tmp_path)
    assert any(phase.metrics["sampling/filled_groups"] for phase in outcome.phases)
    lines = [line for line in capsys.readouterr().out.splitlines() if "reward" in line]
    for line, phase in zip(lines, outcome.phases, strict=True):
        metrics = phase.metrics
        text = (
            f"discarded {metrics['sampling/discarded_groups']:.0f} groups in {metrics['sampling/rounds']:.0f}"
        )
        assert (text in line) == bool(phase.discarded)
        filled = metrics["sampling/filled_groups"]
        assert (f"filled with {filled:.0f} groups without variance" in line) == bool(filled)


def test_guards_judge_what_was_discarded(tmp_path: Path) -> None:
    """Easy prompts are half of what is sampled: kept groups alone would show no group without variance."""
    settings = {"steps": 8, "guards": {"max_zero_variance": 0.2}}
    with pytest.raises(
        GuardTripped, match=r"groups have rewards without variance.*guards\.max_zero_variance"
    ):
        run(settings=settings, run_dir=tmp_path)


@given(
    easy=st.sets(st.integers(0, 7)),
    rounds=st.integers(1, 5),
    questions=st.integers(1, 4),
    mini_batches=st.integers(1, 2),
)
def test_every_group_sampled_trains_or_is_discarded(
    easy: set[int], rounds: int, questions: int, mini_batches: int
) -> None:
    names = tuple(f"p{i}" for i in sorted(easy))
    algorithm = {"questions_per_step": questions, "mini_batches": mini_batches}
    outcome = run(names, rounds, settings={"steps": 2 * mini_batches, "algorithm": algorithm})
    for phase in outcome.phases:
        asked = drawn(outcome, phase)
        assert Counter(ids(phase.scored)) + Counter(ids(phase.discarded)) == Counter(asked)
        assert len(phase.scored) == questions * mini_batches
        assert set(ids(phase.discarded)) <= set(names)
        filled = sum(name in names for name in ids(phase.scored))
        assert phase.metrics["sampling/filled_groups"] == filled
        assert filled == 0 or phase.metrics["sampling/rounds"] == rounds
        lengths = [5 if name in names else LENGTH for name in asked]
        assert phase.metrics["tokens/rollout"] == 4 * sum(lengths)
    trained = [s for batch in outcome.learners.trained for g in batch for s in g.samples]
    assert outcome.end is not None
    assert outcome.end.tokens == sum(len(s.token_ids) for s in trained)
    assert outcome.end.cursor == sum(len(chunk.prompts) for chunk in outcome.rollouts.chunks)
