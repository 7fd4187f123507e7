"""The RL loop, synchronous: the file to read first. One phase, one direction:

    MixedStream.draw           [Prompt]         which questions, a pure function of seed, cursor and step
    Rollouts.generate          [SampleGroup]    vLLM samples G completions each          rollout/vllm_engine.py
    Rewards.submit, collect    [ScoredGroup]    while the others still generate           rewards/scoring/scorer.py
    to_train_groups            [TrainGroup]     group-relative advantages                 grpo/algorithm/advantages.py
    Rollouts.sleep                              their memory is the learner's until the next load
    Learners.begin_phase                        old and reference log-probs               grpo/training/learner.py
    Learners.update × M        StepReport       packed, clipped, one optimizer step each  grpo/algorithm/losses.py
    Learners.publish ─▶ Rollouts.load           a stream of weights, then a canary         rollout/transport/

The first three are `grpo.rl.collect`. What is missing from PPO: no value network, no GAE, no KL in the reward (it
stands in the loss), one inner epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from data_recipes.prompts.mixed_stream import MixedStream
from grpo.algorithm.batching import phase_mini_batches, to_train_groups
from grpo.algorithm.registry import advantage_estimator
from grpo.algorithm.schedules import is_due, max_tokens_at, temperature_at
from grpo.algorithm.types import StepReport, TrainGroup
from grpo.common import stopping
from grpo.config.evaluate import EvalStageConfig
from grpo.config.rl import RlConfig
from grpo.rl.collect import (
    Collected,
    PartClock,
    Rewards,
    Rollouts,
    SampleRequest,
    Samplers,
    Ticket,
    collect_phase,
    nothing,
    sample_and_score,
)
from grpo.rl.evaluate import EvalResult, summarize
from grpo.tracking.best import BestKeeper
from grpo.tracking.phase_metrics import dynamic_sampling_metrics, phase_metrics, staleness
from grpo.training.checkpoint import Checkpoint
from rewards.scoring.scorer import component_weights
from rewards.types import ScoredGroup
from rollout.publication import Publication
from rollout.types import Prompt, SamplingParams


class Learners(Protocol):
    """The learner ranks, seen from the loop."""

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """Fix old and reference log-probs for the phase; returns the log-prob mismatch with the engine, in nats."""

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        """Do one optimizer update; `step` counts the updates before it."""

    def publish(self, version: int) -> Publication:
        """Return the weights as this version, for engines to load."""

    def save(self, state: LoopState, protected: Sequence[int]) -> None:
        """Write a checkpoint, atomically; old ones go, but for those of protected steps."""


@dataclass(frozen=True)
class LoopState:
    """The position of a run; a checkpoint holds it beside the learner's own state."""

    step: int = 0
    """Optimizer updates done; the policy version."""
    cursor: int = 0
    """Positions of the stream that are done, those of discarded groups included."""
    tokens: int = 0
    """Completion tokens trained on; what dynamic sampling discards is not among them."""
    owes_eval: bool = False
    """The evaluation that is due at this step has not come to its end."""

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> LoopState:
        """Return the position at which a checkpoint was written; without one, the start."""
        return cls() if checkpoint is None else cls(step=checkpoint.step, **checkpoint.extra)

    def extra(self) -> dict[str, int | bool]:
        """Return what a checkpoint stores of this beside the step; `of` reads it."""
        return {"cursor": self.cursor, "tokens": self.tokens, "owes_eval": self.owes_eval}

    def is_last(self, config: RlConfig) -> bool:
        """Return True when all updates, or all tokens of the budget, are done."""
        return self.step >= config.steps or self.tokens >= (config.token_budget or math.inf)


@dataclass(frozen=True)
class PhaseRecord:
    """The outcome of one phase, for metrics, samples and guards."""

    end: LoopState
    """Position of the run after the phase."""
    metrics: dict[str, float]
    reports: tuple[StepReport, ...]
    scored: tuple[ScoredGroup, ...]
    """The groups that went on to training."""
    advantages: dict[tuple[int, int], float]
    """By (index of the group in `scored`, index of the sample); samples that did not train are missing."""
    discarded: tuple[ScoredGroup, ...] = ()
    """Groups that dynamic sampling drew, paid for, and left out."""


def train(
    *,
    config: RlConfig,
    state: LoopState,
    stream: MixedStream,
    eval_prompts: Sequence[Prompt],
    rollouts: Rollouts,
    rewards: Rewards[Ticket],
    learners: Learners,
    stop_token_ids: tuple[int, ...],
    on_scored: Callable[[int, Sequence[ScoredGroup]], None],
    on_phase: Callable[[PhaseRecord], None],
    on_eval: Callable[[EvalResult, Sequence[ScoredGroup]], None],
    best: BestKeeper,
    on_checkpoint: Callable[[], None] = nothing,
    on_part: Callable[[str, int], None] = nothing,
) -> LoopState:
    """Run GRPO from `state` to config.steps, config.token_budget or until `best` stops it; return the end position.

    `on_phase` and `on_eval` run before the state moves on; a crash anywhere costs at most the work since the last
    checkpoint, and the same command redoes that work with the same bits.

    `on_checkpoint` is called when one is written, `on_part` with the part of the phase that begins (those of
    `PartClock`, "checkpoint", "" between them) and the updates done.

    `on_scored` gets the updates done after the phase, and every group that the phase has sampled, before it trains.

    Raises:
        GuardTripped: by `on_scored`, before anything is trained, or by `on_phase`, before the phase is checkpointed.
        KeyboardInterrupt: Ctrl-C or SIGTERM (`grpo.common.stopping`); all finished phases are checkpointed.
    """
    algorithm = config.algorithm
    weights = component_weights(config.rewards)
    estimator = advantage_estimator(algorithm)
    samplers = Samplers(rollouts, rewards, config.seed, config.engine.chunk_groups)
    spent = PartClock(lambda part: on_part(part, state.step))
    saved_step = state.step

    def save(protected: Sequence[int]) -> None:
        nonlocal saved_step
        on_part("checkpoint", state.step)
        learners.save(state, protected)
        saved_step = state.step
        on_part("", state.step)
        on_checkpoint()

    def evaluate() -> None:
        if eval_prompts:
            with spent.part("eval"):
                result = run_eval(
                    config=config,
                    step=state.step,
                    prompts=eval_prompts,
                    rollouts=rollouts,
                    rewards=rewards,
                    stop_token_ids=stop_token_ids,
                )
            on_eval(*result)

    def conclude_phase() -> str | None:
        """Evaluate and checkpoint where it is due; returns why the run stops, if it does."""
        nonlocal state
        due = partial(is_due, state.step, is_last=state.is_last(config), updates=algorithm.mini_batches)
        is_checkpoint = due(config.checkpoint.every_phases * algorithm.mini_batches)
        if state.owes_eval:
            evaluate()
        verdict = best.judge(state.step, is_checkpoint)
        if verdict.stop and not state.owes_eval:
            evaluate()
        state = replace(state, owes_eval=False)
        if is_checkpoint or verdict.save or verdict.stop:
            save(verdict.protected)
        return verdict.stop

    try:
        rollouts.load(learners.publish(state.step))
        if state.step == 0:
            evaluate()
        stop = conclude_phase() if state.owes_eval else best.stop_reason()
        while not (state.is_last(config) or stop):
            temperature = temperature_at(state.step, config.sampling)
            max_tokens = max_tokens_at(state.step, config.sampling)
            collected = collect_phase(
                samplers=samplers,
                stream=stream,
                cursor=state.cursor,
                step=state.step,
                algorithm=algorithm,
                sampling=SamplingParams(max_tokens, temperature, 1.0, stop_token_ids),
                spent=spent,
            )
            on_scored(state.step + algorithm.mini_batches, collected.sampled)
            groups, counts = to_train_groups(collected.groups, estimator, algorithm.zero_variance)
            with spent.part("old_ref"):
                rollouts.sleep()
                mismatch = learners.begin_phase(groups, state.step, temperature)
            reports: list[StepReport] = []
            with stopping.held():  # until the row is written the learner stands between two positions
                with spent.part("learn"):
                    for batch in phase_mini_batches(
                        groups, algorithm.mini_batches, seed=(config.seed, state.step)
                    ):
                        reports.append(learners.update(batch, state.step + len(reports), max_tokens))
                state = LoopState(
                    step=state.step + len(reports),
                    cursor=collected.cursor,
                    tokens=state.tokens + completion_tokens(groups),
                )
                with spent.part("sync"):
                    publication = learners.publish(state.step)
                    rollouts.load(publication)

                times = {f"time/{name}_s": seconds for name, seconds in spent.seconds.items()}
                metrics = figures(collected, counts, weights, config, state.step) | mismatch | times
                metrics["sync/bytes"] = float(publication.nbytes)
                advantages = {(g.index, s.index): s.advantage for g in groups for s in g.samples}
                on_phase(
                    PhaseRecord(
                        end=state,
                        metrics=metrics,
                        reports=tuple(reports),
                        scored=collected.groups,
                        advantages=advantages,
                        discarded=collected.discarded,
                    )
                )
                spent.seconds.clear()
                is_evaluation = is_due(
                    state.step,
                    config.eval.every_steps,
                    is_last=state.is_last(config),
                    updates=algorithm.mini_batches,
                )
                state = replace(state, owes_eval=is_evaluation)
            stop = conclude_phase()
    except KeyboardInterrupt:
        if state.step > saved_step:
            save(best.protected)
        if saved_step:
            stopping.leave_note(
                f"checkpoint of step {saved_step:,} in {config.run_dir}; the same command goes on"
            )
        raise
    return state


def figures(
    collected: Collected,
    counts: Mapping[str, float],
    weights: Mapping[str, float],
    config: RlConfig,
    end: int,
) -> dict[str, float]:
    """Return the metrics of what a phase sampled: of every sample, discarded ones included, but for train/*.

    Args:
        collected: the phase's groups.
        counts: by `to_train_groups`.
        weights: of the reward components in the total.
        config: the run's.
        end: updates done after the phase.
    """
    metrics = phase_metrics(collected.sampled, counts, weights, config.audit.of)
    metrics["rollout/staleness_max"] = staleness(collected.groups, end)
    if config.algorithm.dynamic_sampling:
        metrics |= dynamic_sampling_metrics(collected.groups, collected.discarded, collected.rounds)
    return metrics


def run_eval(
    *,
    config: RlConfig | EvalStageConfig,
    step: int,
    prompts: Sequence[Prompt],
    rollouts: Rollouts,
    rewards: Rewards[Ticket],
    stop_token_ids: tuple[int, ...],
) -> tuple[EvalResult, list[ScoredGroup]]:
    """Sample k completions of each held-out prompt and score them."""
    limit = config.eval.max_tokens or max_tokens_at(step, config.sampling)
    request = SampleRequest(
        name=f"eval/{step}",
        stage="eval",
        prompts=prompts,
        group_size=config.eval.samples,
        version=step,
        sampling=SamplingParams(limit, config.eval.temperature, config.eval.top_p, stop_token_ids),
    )
    samplers = Samplers(rollouts, rewards, config.seed, config.engine.chunk_groups)
    scored = sample_and_score(request, samplers, spent=PartClock())
    return summarize(step, scored, config.eval.correct), scored


def completion_tokens(groups: Sequence[TrainGroup]) -> int:
    """Count the completion tokens of all samples that train."""
    return sum(len(sample.token_ids) for group in groups for sample in group.samples)
