"""The RL loop, synchronous: the file to read first. One phase, one direction:

    MixedStream.draw           [Prompt]         which questions, a pure function of seed, cursor and step
    Rollouts.generate          [SampleGroup]    vLLM samples G completions each          rollout/vllm_engine.py
    Rewards.score              [ScoredGroup]    while the others still generate           rewards/scoring/scorer.py
    to_train_groups            [TrainGroup]     group-relative advantages                 grpo/algorithm/advantages.py
    Learner.begin_phase                         old and reference log-probs               grpo/training/learner.py
    Learner.update × M         StepReport       packed, clipped, one optimizer step each  grpo/algorithm/losses.py
    Learner.publish ─▶ Rollouts.load            weights with digests, then a canary       rollout/weights.py

What is missing from PPO: no value network, no GAE, no KL in the reward (it stands in the loss), one inner epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from data_recipes.prompts.mixed_stream import MixedStream
from grpo.algorithm.advantages import has_spread
from grpo.algorithm.batching import phase_mini_batches, to_train_groups
from grpo.algorithm.registry import advantage_estimator
from grpo.algorithm.schedules import max_tokens_at, temperature_at
from grpo.algorithm.types import StepReport, TrainGroup
from grpo.config.evaluate import EvalStageConfig
from grpo.config.rl import RlConfig
from grpo.rl.evaluate import EvalResult, summarize
from grpo.tracking.phase_metrics import phase_metrics
from grpo.training.checkpoint import Checkpoint
from rewards.scoring.scorer import component_weights
from rewards.types import ScoredGroup
from rollout.chunks import make_chunks
from rollout.types import Prompt, RolloutChunk, SampleGroup, SamplingParams


class Rollouts(Protocol):
    """The rollout workers, seen from the loop."""

    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        """Every group of every chunk exactly once, in any order, as they finish."""

    def load(self, publication: Any) -> None:
        """All workers hold this version afterwards, proven by digests and canary; else WeightSyncError."""


class Rewards(Protocol):
    """The reward worker, seen from the loop."""

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Any:
        """Start scoring; returns a ticket."""

    def collect(self, tickets: Sequence[Any]) -> list[ScoredGroup]:
        """The scored groups of all tickets."""


class Learners(Protocol):
    """The learner ranks, seen from the loop."""

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """Fix old and reference log-probs for the phase; returns the engine/learner gap and the like."""

    def update(self, mini_batch: Any, step: int, max_tokens: int) -> StepReport:
        """One optimizer update."""

    def publish(self, version: int) -> Any:
        """Weights of this version, with digests and canary log-probs."""

    def save(self, state: LoopState) -> None:
        """Checkpoint, atomic."""


@dataclass(frozen=True)
class LoopState:
    """Where a run stands; what a checkpoint must hold beside the learner's own state."""

    step: int = 0
    """Optimizer updates done; the policy version."""
    cursor: int = 0
    """Positions of the stream that are done."""
    tokens: int = 0
    """Completion tokens trained on."""

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> LoopState:
        """Where the run stood that wrote this checkpoint; the start without one."""
        return cls() if checkpoint is None else cls(step=checkpoint.step, **checkpoint.extra)

    def extra(self) -> dict[str, int]:
        """What a checkpoint holds of this beside the step; `of` reads it."""
        return {"cursor": self.cursor, "tokens": self.tokens}

    def is_last(self, config: RlConfig) -> bool:
        """True when the run has had its updates, or its tokens."""
        return self.step >= config.steps or self.tokens >= (config.token_budget or math.inf)


@dataclass(frozen=True)
class PhaseRecord:
    """What one phase leaves for metrics and samples."""

    end: LoopState
    """Where the run stands after it."""
    metrics: dict[str, float]
    reports: tuple[StepReport, ...]
    scored: tuple[ScoredGroup, ...]
    advantages: dict[tuple[int, int], float]
    """By (index of the group in `scored`, index of the sample); samples that did not train are missing."""


def train(
    config: RlConfig,
    state: LoopState,
    stream: MixedStream,
    eval_prompts: Sequence[Prompt],
    rollouts: Rollouts,
    rewards: Rewards,
    learners: Learners,
    stop_token_ids: tuple[int, ...],
    on_phase: Callable[[PhaseRecord], None],
    on_eval: Callable[[EvalResult, Sequence[ScoredGroup]], None],
) -> LoopState:
    """Run GRPO from `state` to config.steps or config.token_budget, whichever comes first; returns where it ended.

    Each callback runs before the state moves on; a crash anywhere costs at most the work since the last checkpoint,
    and the same command redoes that work with the same bits.
    """
    algorithm = config.algorithm
    weights = component_weights(config.rewards)
    estimator = advantage_estimator(algorithm)

    spent: dict[str, float] = {}

    def evaluate() -> None:
        if eval_prompts:
            with clock("eval", spent):
                result = run_eval(config, state.step, eval_prompts, rollouts, rewards, stop_token_ids)
            on_eval(*result)

    rollouts.load(learners.publish(state.step))
    if state.step == 0:
        evaluate()
    while not state.is_last(config):
        temperature = temperature_at(state.step, config.sampling)
        max_tokens = max_tokens_at(state.step, config.sampling)
        sampling = SamplingParams(max_tokens, temperature, 1.0, stop_token_ids)

        scored, state = collect_phase(config, state, stream, sampling, rollouts, rewards, spent)
        groups, kept = to_train_groups(scored, estimator, algorithm.zero_variance)
        with clock("old_ref", spent):
            gap = learners.begin_phase(groups, state.step, temperature)
        reports: list[StepReport] = []
        with clock("learn", spent):
            for batch in phase_mini_batches(groups, algorithm.mini_batches, seed=(config.seed, state.step)):
                reports.append(learners.update(batch, state.step + len(reports), max_tokens))
        trained = completion_tokens(groups)
        state = replace(state, step=state.step + len(reports), tokens=state.tokens + trained)
        with clock("sync", spent):
            rollouts.load(learners.publish(state.step))

        times = {f"time/{name}_s": seconds for name, seconds in spent.items()}
        metrics = phase_metrics(scored, kept, weights, config.audit.of) | gap | times
        advantages = {(g.index, s.index): s.advantage for g in groups for s in g.samples}
        on_phase(PhaseRecord(state, metrics, tuple(reports), tuple(scored), advantages))
        spent.clear()
        if is_due(state, config.eval.every_steps, config):
            evaluate()
        if is_due(state, config.checkpoint.every_phases * algorithm.mini_batches, config):
            learners.save(state)
    return state


def collect_phase(
    config: RlConfig,
    state: LoopState,
    stream: MixedStream,
    sampling: SamplingParams,
    rollouts: Rollouts,
    rewards: Rewards,
    spent: dict[str, float],
) -> tuple[list[ScoredGroup], LoopState]:
    """Draw, sample and score one phase of groups; with dynamic sampling, until enough have spread (DAPO §3.2)."""
    algorithm = config.algorithm
    wanted = algorithm.questions_per_step * algorithm.mini_batches
    kept: list[ScoredGroup] = []
    rounds = algorithm.dynamic_sampling_max_rounds if algorithm.dynamic_sampling else 1
    for draw in range(rounds):
        prompts, cursor = stream.draw(state.cursor, wanted - len(kept), state.step)
        state = replace(state, cursor=cursor)
        name = f"train/{state.step}/{draw}"
        scored = sample_and_score(
            config, prompts, sampling, algorithm.group_size, state.step, name, "rl", rollouts, rewards, spent
        )
        last = draw == rounds - 1
        kept += scored if last else [s for s in scored if group_has_spread(s)]
        if len(kept) >= wanted:
            break
    return kept, state


def sample_and_score(
    config: RlConfig | EvalStageConfig,
    prompts: Sequence[Prompt],
    sampling: SamplingParams,
    group_size: int,
    version: int,
    name: str,
    stage: str,
    rollouts: Rollouts,
    rewards: Rewards,
    spent: dict[str, float],
) -> list[ScoredGroup]:
    """Rollout and reward, overlapped: a finished group is scored while others still generate. In prompt order."""
    chunks = make_chunks(
        prompts, name, config.seed, version, sampling, group_size, config.engine.chunk_groups
    )
    with clock("rollout", spent):
        tickets = [rewards.submit([group], stage, version) for group in rollouts.generate(chunks)]
    with clock("reward", spent):
        scored = rewards.collect(tickets)
    # A prompt may come twice in a phase (epoch border); the seed of its first sample tells the two apart.
    by_key = {_key(s.group): s for s in scored}
    return [by_key[(p.id, seeds[0])] for c in chunks for p, seeds in zip(c.prompts, c.seeds, strict=True)]


def _key(group: SampleGroup) -> tuple[str, int]:
    return group.prompt.id, group.samples[0].seed


def group_has_spread(scored: ScoredGroup) -> bool:
    """True if the group's verdicts differ in reward, so that its advantages are not all zero."""
    return has_spread([s.total for s in scored.scores if s.total is not None])


def run_eval(
    config: RlConfig | EvalStageConfig,
    step: int,
    prompts: Sequence[Prompt],
    rollouts: Rollouts,
    rewards: Rewards,
    stop_token_ids: tuple[int, ...],
) -> tuple[EvalResult, list[ScoredGroup]]:
    """Sample k completions of each held-out prompt and score them."""
    limit = config.eval.max_tokens or max_tokens_at(step, config.sampling)
    sampling = SamplingParams(limit, config.eval.temperature, config.eval.top_p, stop_token_ids)
    scored = sample_and_score(
        config, prompts, sampling, config.eval.samples, step, f"eval/{step}", "eval", rollouts, rewards, {}
    )
    return summarize(step, scored, config.eval.correct), scored


def completion_tokens(groups: Sequence[TrainGroup]) -> int:
    """Of all samples that train."""
    return sum(len(sample.token_ids) for group in groups for sample in group.samples)


def is_due(state: LoopState, every: int, config: RlConfig) -> bool:
    """True at each multiple of `every` (0: never) that a phase has just reached or passed, and at the run's end."""
    if state.is_last(config):
        return True
    return bool(every) and state.step // every > (state.step - config.algorithm.mini_batches) // every


@contextmanager
def clock(name: str, spent: dict[str, float]) -> Iterator[None]:
    """Add the block's wall time to `spent[name]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
