"""Scripted workers for the RL loop: what a sample looks like and earns, and what an update reports, are functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes.prompts.mixed_stream import MixedStream, Source
from grpo.algorithm.types import StepReport, TrainGroup
from grpo.config.rl import RlConfig
from grpo.rl.evaluate import EvalResult
from grpo.rl.loop import LoopState, PhaseRecord, train
from grpo.rl.recorder import make_recorder
from grpo.tracking.best import BestKeeper
from rewards.types import Score, ScoredGroup
from rollout.ledger import Ledger
from rollout.publication import Publication
from rollout.transport.sender import publish
from rollout.types import Prompt, RolloutChunk, Sample, SampleGroup

LENGTH = 3
"""Tokens of a completion, unless the script says otherwise."""
HEALTHY = {
    "loss": 0.01, "grad_norm": 0.5, "zero_gradient": 0.0, "policy/entropy": 0.8, "policy/kl": 0.001,
    "policy/clip_frac": 0.01, "policy/ratio_max": 1.2, "logprob_mismatch/mean": 1e-6, "logprob_mismatch/max": 1e-5,
}  # fmt: skip
"""What an update of a healthy run reports."""


def as_drawn(sample: Sample) -> Sample:
    """Leave the sample as it is."""
    return sample


def by_seed(sample: Sample) -> Score:
    """A reward that is a function of the sample's seed, so that no two groups are alike."""
    value = sample.seed % 101 / 7
    return Score(value, {"accuracy": value})


@dataclass
class Rollouts:
    """Samples of `LENGTH` tokens, changed by `change`; groups finish in reverse order."""

    change: Callable[[Sample], Sample] = as_drawn
    chunks: list[RolloutChunk] = field(default_factory=list)
    """Every chunk asked for."""
    versions: list[int] = field(default_factory=list)
    """Every version loaded."""

    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        self.chunks += chunks
        groups = [
            (c.policy_version, p, seeds) for c in chunks for p, seeds in zip(c.prompts, c.seeds, strict=True)
        ]
        for version, prompt, seeds in reversed(groups):
            yield SampleGroup(
                prompt, tuple(self.change(_sample(prompt, i, seed, version)) for i, seed in enumerate(seeds))
            )

    def load(self, publication: Publication) -> None:
        self.versions.append(publication.version)


def _sample(prompt: Prompt, index: int, seed: int, version: int) -> Sample:
    ids, logprobs = np.arange(LENGTH, dtype=np.int32), np.zeros(LENGTH, np.float32)
    return Sample(prompt.id, index, ids, logprobs, str(seed), "stop", seed, version, version)


def longer(sample: Sample, tokens: int) -> Sample:
    """The sample with another number of tokens."""
    return replace(sample, token_ids=np.arange(tokens, dtype=np.int32), logprobs=np.zeros(tokens, np.float32))


@dataclass
class Rewards:
    """A score per sample."""

    score: Callable[[Sample], Score] = by_seed

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> list[ScoredGroup]:
        return [ScoredGroup(g, tuple(self.score(s) for s in g.samples)) for g in groups]

    def collect(self, tickets: Sequence[list[ScoredGroup]]) -> list[ScoredGroup]:
        return [scored for ticket in tickets for scored in ticket]


@dataclass
class Learners:
    """What each update reports, by the number of updates done before it."""

    report: Callable[[int], dict[str, float]] = lambda step: dict(HEALTHY)
    trained: list[list[TrainGroup]] = field(default_factory=list)
    """Every mini-batch."""
    checkpoints: list[LoopState] = field(default_factory=list)
    protected: list[tuple[int, ...]] = field(default_factory=list)
    """Steps that each save was told to keep."""

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        return {}

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        self.trained.append(list(mini_batch))
        return StepReport(step, self.report(step))

    def publish(self, version: int) -> Publication:
        return publish({}, version)

    def save(self, state: LoopState, protected: Sequence[int]) -> None:
        self.checkpoints.append(state)
        self.protected.append(tuple(protected))


@dataclass
class Run:
    """A run of the loop and what it left."""

    rollouts: Rollouts
    learners: Learners
    phases: list[PhaseRecord] = field(default_factory=list)
    evals: list[EvalResult] = field(default_factory=list)
    scored_evals: list[Sequence[ScoredGroup]] = field(default_factory=list)
    end: LoopState | None = None
    parts: list[tuple[str, int]] = field(default_factory=list)
    """(part that begins, updates done)."""
    checkpoints_seen: list[int] = field(default_factory=list)
    """Checkpoints written, at each call of `on_checkpoint`."""


def make_config(settings: dict[str, Any]) -> RlConfig:
    """Groups of 4, 3 questions a step, unless the settings say otherwise; checkpoints at the end only."""
    defaults: dict[str, Any] = {
        "run_dir": Path("unused"), "policy": {"model": "none"}, "data": {"source": "chain"},
        "rewards": ({"name": "accuracy"},), "checkpoint": {"every_phases": 1000},
    }  # fmt: skip
    algorithm = {"questions_per_step": 3, "group_size": 4, "advantage": "mean"}
    return RlConfig.model_validate(
        {**defaults, **settings, "algorithm": algorithm | settings.get("algorithm", {})}
    )


def run_loop(
    settings: dict[str, Any],
    *,
    prompts: int = 2,
    held_out: int = 0,
    change: Callable[[Sample], Sample] = as_drawn,
    score: Callable[[Sample], Score] = by_seed,
    report: Callable[[int], dict[str, float]] = lambda step: dict(HEALTHY),
    start: LoopState = LoopState(),  # noqa: B008 - frozen
    run_dir: Path | None = None,
) -> Run:
    """Train with scripted workers on prompts p0, p1, …, and evaluate on h0, h1, …

    With a `run_dir`, the run is recorded and judged as `grpo rl` does.
    """
    config = make_config(settings | ({"run_dir": run_dir} if run_dir else {}))
    run = Run(Rollouts(change), Learners(report))
    recorder = (
        make_recorder(config, start, compute_dtype="float32", model="hash", attempts=Ledger().rows)
        if run_dir
        else None
    )

    def on_phase(phase: PhaseRecord) -> None:
        run.phases.append(phase)
        if recorder is not None:
            recorder.on_phase(phase)

    def on_eval(result: EvalResult, scored: Sequence[ScoredGroup]) -> None:
        run.evals.append(result)
        run.scored_evals.append(scored)
        if recorder is not None:
            recorder.on_eval(result, scored)

    questions = [Prompt(f"p{i}", "q", (1,), "1") for i in range(prompts)]
    run.end = train(
        config=config,
        state=start,
        stream=MixedStream([Source(questions)], config.seed),
        eval_prompts=[Prompt(f"h{i}", "q", (1,), "1") for i in range(held_out)],
        rollouts=run.rollouts,
        rewards=Rewards(score),
        learners=run.learners,
        stop_token_ids=(),
        on_scored=recorder.on_scored if recorder else lambda step, scored: None,
        on_phase=on_phase,
        on_eval=on_eval,
        on_checkpoint=lambda: run.checkpoints_seen.append(len(run.learners.checkpoints)),
        on_part=lambda part, step: run.parts.append((part, step)),
        best=recorder.best if recorder else BestKeeper(config.run_dir, None, start.step),
    )
    return run
