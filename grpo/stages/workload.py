"""What a stage has to do, in prompts, samples and tokens: read from its config and `[stages.NAME.plan]`. Pure.

No config holds the mean length of a completion: the recipe's plan states it, or a finished run does (`--rates`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from data_recipes.config import DatasetConfig, source_kind, source_name
from data_recipes.procedural import PROCEDURAL
from data_recipes.prompts.reasoning_gym import DEFAULT_COUNT
from grpo.config.plan import StagePlan
from grpo.config.supervised import SupervisedConfig


@dataclass(frozen=True)
class Phases:
    """`count` equal rollouts of a stage."""

    count: float
    samples: float
    """Completions of one rollout."""
    mean: float
    """Mean tokens of a completion."""
    limit: float
    """Most tokens of a completion."""


@dataclass(frozen=True)
class Workload:
    """What there is to do; None where the recipe does not state it."""

    steps: int | None = None
    """Optimizer updates."""
    prompts: int | None = None
    prompt_tokens: float = 0.0
    """Mean tokens of a prompt."""
    group: int = 1
    """Samples of a prompt, whose tokens a learner computes once for all of them."""
    phases: tuple[Phases, ...] = ()
    """Rollouts."""
    trained: float | None = None
    """Tokens that go through training, prompts included."""
    passes: int = 0
    """Further forward passes over them: old policy, reference."""
    recompute: bool = False
    """True if the backward pass computes activations again."""
    mean_context: float = 0.0
    """Mean tokens in front of a trained one."""

    @property
    def samples(self) -> float:
        """Completions of all rollouts."""
        return sum(p.count * p.samples for p in self.phases)

    @property
    def generated(self) -> float:
        """Tokens of all completions."""
        return sum(p.count * p.samples * p.mean for p in self.phases)


def sampling_workload(
    sources: Sequence[DatasetConfig], plan: StagePlan, samples: int, limit: int, mean: float | None
) -> Workload:
    """Return the workload of a stage that samples every prompt of its sources and trains nothing.

    Args:
        sources: where the prompts come from.
        plan: what the recipe states of the stage.
        samples: completions of a prompt.
        limit: most tokens of a completion.
        mean: mean tokens of a completion; None where nobody knows.
    """
    prompts = count_prompts(sources, plan)
    phases = (Phases(1, prompts * samples, mean, limit),) if prompts is not None and mean is not None else ()
    return Workload(prompts=prompts, prompt_tokens=plan.prompt_tokens, group=samples, phases=phases)


def supervised_workload(
    config: SupervisedConfig, plan: StagePlan, mean: float | None, sequences_of_an_example: int = 1
) -> Workload:
    """Return the workload of epochs over examples of `mean` tokens.

    Args:
        config: the supervised stage's.
        plan: what the recipe states of the stage; without `examples` only max_steps is known.
        mean: mean tokens of a sequence; None where nobody knows.
        sequences_of_an_example: 2 for a pair.
    """
    if plan.examples is None:
        return Workload(steps=config.max_steps)
    every = plan.examples * config.epochs  # epochs lie end to end: only the run's last batch may be smaller
    steps = -(-every // config.batch_size)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    sequences = min(steps * config.batch_size, every) * sequences_of_an_example
    return Workload(
        steps=steps,
        prompts=plan.examples,
        trained=sequences * mean if mean else None,
        recompute=config.learner.recompute,
        mean_context=(mean or 0.0) / 2,
    )


def count_prompts(sources: Sequence[DatasetConfig], plan: StagePlan) -> int | None:
    """Count the prompts of all sources; None if one cannot be counted without reading it."""
    if plan.prompts is not None:
        return plan.prompts
    total = 0
    for source in sources:
        found = source.limit
        name = source_name(source.source)
        if name == "r1-world":
            found = sum(int(source.params.get(kind, 0)) for kind in ("math", "general", "safety"))
        elif name in PROCEDURAL:
            found = getattr(PROCEDURAL[name].params.model_validate(source.params), "count", None)
        elif source_kind(name) == "gym":
            found = int(source.params.get("count", DEFAULT_COUNT))
        if found is None:
            return None
        total += min(found, source.limit) if source.limit else found
    return total


def interpolate(points: Sequence[tuple[int, float]], at: float) -> float:
    """Return the value at a step on straight lines between the points, level outside them."""
    if at <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if at <= x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return points[-1][1]
