"""The loop's own bookkeeping, with scripted workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_recipes.prompts.mixed_stream import MixedStream, Source
from grpo.algorithm.types import StepReport, TrainGroup
from grpo.config.rl import RlConfig
from grpo.rl.loop import LoopState, PhaseRecord, train
from grpo.tracking.samples import phase_rows
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, RolloutChunk, Sample, SampleGroup

IDS = np.arange(3, dtype=np.int32)


class Rollouts:
    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        groups = [(p, seeds) for c in chunks for p, seeds in zip(c.prompts, c.seeds, strict=True)]
        for prompt, seeds in reversed(groups):  # finished in any order
            yield SampleGroup(prompt, tuple(
                Sample(prompt.id, i, IDS, np.zeros(3, np.float32), str(seed), "stop", seed, 0, 0)
                for i, seed in enumerate(seeds)
            ))  # fmt: skip

    def load(self, publication: Any) -> None: ...


class Rewards:
    """A sample's reward is a function of its seed, so that no two groups are alike."""

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Any:
        return [
            ScoredGroup(g, tuple(Score(s.seed % 101 / 7, {"accuracy": 1.0}) for s in g.samples))
            for g in groups
        ]

    def collect(self, tickets: Sequence[Any]) -> list[ScoredGroup]:
        return [scored for ticket in tickets for scored in ticket]


class Learners:
    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        return {}

    def update(self, mini_batch: Any, step: int, max_tokens: int) -> StepReport:
        return StepReport(step, {})

    def publish(self, version: int) -> Any: ...

    def save(self, state: LoopState) -> None:
        self.saved = state


def run(settings: dict[str, Any]) -> tuple[list[PhaseRecord], LoopState, LoopState]:
    """The phases, the state returned and the state last saved of a run of groups of 4 with completions of 3 tokens."""
    config = RlConfig.model_validate(
        {
            "run_dir": Path("unused"), "policy": {"model": "none"}, "data": {"source": "chain"},
            "rewards": ({"name": "accuracy"},),
            "algorithm": {"questions_per_step": 3, "group_size": 4, "advantage": "mean"},
            "checkpoint": {"every_phases": 1000},
            **settings,
        }
    )  # fmt: skip
    prompts = [Prompt("p0", "q", (1,), "1"), Prompt("p1", "q", (1,), "1")]
    phases: list[PhaseRecord] = []
    learners = Learners()
    end = train(
        config, LoopState(), MixedStream([Source(prompts)], 0), [], Rollouts(), Rewards(), learners, (),
        phases.append, lambda result, scored: None,
    )  # fmt: skip
    return phases, end, learners.saved


def test_a_prompt_that_comes_twice_in_a_phase_keeps_its_own_advantages() -> None:
    (phase,), _, _ = run({"steps": 1})
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
    phases, end, saved = run({"steps": 5, "token_budget": budget})
    assert (end.step, end.tokens) == (steps, 36 * steps)
    assert [phase.end.tokens for phase in phases] == [36 * (i + 1) for i in range(steps)]
    assert saved == end
