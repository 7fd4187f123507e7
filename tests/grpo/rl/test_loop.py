"""The loop's own bookkeeping, with scripted workers."""

from __future__ import annotations

import numpy as np
import pytest

from grpo.rl.loop import LoopState
from grpo.tracking.samples import phase_rows
from tests.grpo.rl.scripted import run_loop


def test_a_prompt_that_comes_twice_in_a_phase_keeps_its_own_advantages() -> None:
    (phase,) = run_loop({"steps": 1}).phases
    rows = phase_rows(1, "rl", phase.scored, phase.advantages)
    assert sorted(len({row.prompt_id for row in rows[at : at + 4]}) for at in (0, 4, 8)) == [1, 1, 1]
    assert len({row.prompt_id for row in rows}) == 2  # one of two prompts came twice among three
    assert len({row.id for row in rows}) == 12
    for at in (0, 4, 8):
        totals = np.array([row.total for row in rows[at : at + 4]])
        found = np.array([row.advantage for row in rows[at : at + 4]])
        np.testing.assert_allclose(found, totals - totals.mean())


@pytest.mark.parametrize(("budget", "steps"), [(None, 5), (1, 1), (36, 1), (37, 2), (100, 3), (10**6, 5)])
def test_a_run_ends_with_its_steps_or_its_tokens(budget: int | None, steps: int) -> None:
    """A step trains on 3 × 4 completions of 3 tokens; the last state is saved, however the run ends."""
    run = run_loop({"steps": 5, "token_budget": budget})
    assert isinstance(run.end, LoopState)
    assert (run.end.step, run.end.tokens) == (steps, 36 * steps)
    assert [phase.end.tokens for phase in run.phases] == [36 * (i + 1) for i in range(steps)]
    assert run.learners.checkpoints[-1] == run.end


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_samples_of_a_phase_are_as_old_as_its_updates(mini_batches: int) -> None:
    run = run_loop({"steps": 4, "algorithm": {"mini_batches": mini_batches}})
    assert {phase.metrics["rollout/staleness_max"] for phase in run.phases} == {mini_batches}
    assert run.rollouts.versions == list(range(0, 5, mini_batches))


@pytest.mark.parametrize("mini_batches", [1, 2])
def test_checkpoints_come_with_the_phases_and_at_the_end(mini_batches: int) -> None:
    run = run_loop(
        {
            "steps": 5 * mini_batches,
            "checkpoint": {"every_phases": 2},
            "algorithm": {"mini_batches": mini_batches},
        }
    )
    assert [state.step for state in run.learners.checkpoints] == [k * mini_batches for k in (2, 4, 5)]


def test_evaluations_come_before_the_first_update_at_the_period_and_at_the_end() -> None:
    settings = {"steps": 5, "eval": {"every_steps": 2, "samples": 3}}
    run = run_loop(settings, held_out=2)
    assert [(e.step, e.n_problems, e.k) for e in run.evals] == [(step, 2, 3) for step in (0, 2, 4, 5)]
    asked = [c for c in run.rollouts.chunks if c.id.startswith("eval/")]
    assert [(c.id, c.policy_version) for c in asked] == [(f"eval/{step}/0", step) for step in (0, 2, 4, 5)]
    resumed = run_loop(settings, held_out=2, start=LoopState(step=4))
    assert [e.step for e in resumed.evals] == [5]


def test_the_parts_of_a_phase_are_told_as_they_begin_and_a_checkpoint_when_it_is_written() -> None:
    run = run_loop({"steps": 2, "eval": {"every_steps": 2}, "checkpoint": {"every_phases": 1}}, held_out=1)
    begun = [(part, step) for part, step in run.parts if part]
    phase = ["rollout", "reward", "old_ref", "learn"]
    assert begun == [
        ("eval", 0),
        *((part, 0) for part in phase), ("sync", 1), ("checkpoint", 1),
        *((part, 1) for part in phase), ("sync", 2), ("eval", 2), ("checkpoint", 2),
    ]  # fmt: skip
    assert all(part == "" for part, _ in run.parts[1::2])
    assert run.checkpoints_seen == [1, 2]
