"""What a stage has to do, in prompts, samples and tokens: read off its config and `[stages.NAME.plan]`. Pure.

Lengths of completions are not in any config: a recipe's plan gives them, or a run that has been (grpo/plan/rates.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from data_recipes.config import DatasetConfig, source_kind
from data_recipes.procedural import PROCEDURAL
from data_recipes.prompts.reasoning_gym import DEFAULT_COUNT
from grpo.algorithm.schedules import max_tokens_at
from grpo.config.plan import StagePlan
from grpo.graph.parse import Node

MEMBERS_OF_A_PAIR = 2
SHOWN_PHASES = 64
"""Of an RL run whose lengths change, so many phases stand for all."""


@dataclass(frozen=True)
class Phases:
    """`count` equal rollouts of a stage."""

    count: float
    samples: float
    mean: float
    """Tokens of a completion."""
    limit: float


@dataclass(frozen=True)
class Workload:
    """What there is to do; None where the recipe does not say."""

    steps: int | None = None
    """Optimizer updates."""
    prompts: int | None = None
    prompt_tokens: float = 0.0
    group: int = 1
    """Samples of a prompt, whose tokens a learner computes once for all of them."""
    phases: tuple[Phases, ...] = ()
    """Rollouts."""
    trained: float | None = None
    """Tokens that go through training, prompts included."""
    passes: int = 0
    """Forward passes over them besides: old policy, reference."""
    mean_context: float = 0.0
    """Tokens in front of a trained one, on average."""

    @property
    def samples(self) -> float:
        """Completions."""
        return sum(p.count * p.samples for p in self.phases)

    @property
    def generated(self) -> float:
        """Tokens of completions."""
        return sum(p.count * p.samples * p.mean for p in self.phases)


def workload(node: Node, mean_tokens: float | None = None) -> Workload:
    """The stage's workload.

    Args:
        node: the stage.
        mean_tokens: of a completion or example, where the recipe's plan does not say.
    """
    config: Any = node.config
    plan = node.settings.plan
    mean = plan.tokens or mean_tokens
    if node.command == "rl":
        return _rl(config, plan, mean)
    if node.command in ("sample", "eval"):
        sources = [config.data, *config.mix] if node.command == "sample" else [config.eval.data]
        samples = config.samples if node.command == "sample" else config.eval.samples
        limit = config.sampling.max_tokens
        if node.command == "eval" and config.eval.max_tokens:
            limit = config.eval.max_tokens
        prompts = count_prompts(sources, plan)
        if prompts is None or mean is None:
            return Workload(prompts=prompts, prompt_tokens=plan.prompt_tokens, group=samples)
        phase = Phases(1, prompts * samples, mean, limit)
        return Workload(None, prompts, plan.prompt_tokens, samples, (phase,))
    if node.command == "pretrain":
        tokens = config.max_steps * config.documents_per_step * mean if mean else None
        return Workload(steps=config.max_steps, trained=tokens, mean_context=(mean or 0.0) / 2)
    if node.command in ("sft", "distill", "reward-model"):
        return _supervised(node.command, config, plan, mean)
    return Workload()


def _rl(config: Any, plan: StagePlan, mean: float | None) -> Workload:
    a = config.algorithm
    prompts = count_prompts([config.data, *config.mix], plan)
    questions = a.questions_per_step * a.mini_batches
    if mean is None and not plan.lengths:
        return Workload(config.steps, prompts, plan.prompt_tokens, a.group_size)
    steps = config.steps
    if config.token_budget is not None:
        first = interpolate(plan.lengths, 0) if plan.lengths else mean
        assert first is not None
        phase_tokens = questions * a.group_size * first
        steps = min(steps, math.ceil(config.token_budget / phase_tokens) * a.mini_batches)
    count = steps // a.mini_batches
    shown = min(count, SHOWN_PHASES) if plan.lengths or config.sampling.max_tokens_schedule else 1
    phases = []
    for i in range(shown):
        step = int((i + 0.5) * steps / shown)
        limit = max_tokens_at(step, config.sampling)
        length = interpolate(plan.lengths, step) if plan.lengths else mean
        assert length is not None
        phases.append(Phases(count / shown, questions * a.group_size, min(length, limit), limit))
    generated = sum(p.count * p.samples * p.mean for p in phases)
    return Workload(
        steps=steps,
        prompts=prompts,
        prompt_tokens=plan.prompt_tokens,
        group=a.group_size,
        phases=tuple(phases),
        trained=generated + count * questions * plan.prompt_tokens,
        passes=1 + (a.kl_coef > 0),
        mean_context=plan.prompt_tokens + generated / (count * questions * a.group_size) / 2,
    )


def _supervised(command: str, config: Any, plan: StagePlan, mean: float | None) -> Workload:
    if plan.examples is None:
        return Workload(steps=config.max_steps)
    every = plan.examples * config.epochs  # laid end to end: only the run's last batch may be smaller
    steps = -(-every // config.batch_size)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    sequences = min(steps * config.batch_size, every)
    if command == "reward-model" and config.objective == "pairwise":
        sequences *= MEMBERS_OF_A_PAIR
    trained = sequences * mean if mean else None
    return Workload(steps=steps, prompts=plan.examples, trained=trained, mean_context=(mean or 0.0) / 2)


def count_prompts(sources: Sequence[DatasetConfig], plan: StagePlan) -> int | None:
    """Prompts of all sources; None if one's number is not known without reading it."""
    if plan.prompts is not None:
        return plan.prompts
    total = 0
    for source in sources:
        found = source.limit
        if source.source == "r1-world":
            found = sum(int(source.params.get(kind, 0)) for kind in ("math", "general", "safety"))
        elif source.source in PROCEDURAL:
            found = getattr(PROCEDURAL[source.source].params.model_validate(source.params), "count", None)
        elif source_kind(source.source) == "gym":
            found = int(source.params.get("count", DEFAULT_COUNT))
        if found is None:
            return None
        total += min(found, source.limit) if source.limit else found
    return total


def interpolate(points: Sequence[tuple[int, float]], at: float) -> float:
    """The value at a step on straight lines between the points, level outside them."""
    if at <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if at <= x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return points[-1][1]
