"""Values that change during a run, as pure functions of the optimizer step: the number of updates already done."""

from __future__ import annotations

import math
from collections.abc import Sequence

from grpo.config.sections import OptimizerConfig, SamplingConfig, ScheduleStep


def learning_rate(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """Learning rate of the update that goes from `step` to `step + 1`.

    Warm-up is linear and never 0: update k of w, counted from 1, has lr · k/w. After it the rate is constant, or falls
    on a line or half a cosine to lr · min_lr_ratio in the last update.

    Raises:
        ValueError: step < 0 or total_steps < 1.
    """
    if step < 0 or total_steps < 1:
        raise ValueError(f"learning rate of step {step} of {total_steps}")
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    last = total_steps - 1
    # A run no longer than its warm-up has no decay left: progress 1 from the first update after it on.
    progress = (
        min(1.0, (step - config.warmup_steps) / (last - config.warmup_steps))
        if last > config.warmup_steps
        else 1.0
    )
    left = 1.0 - progress if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return config.lr * (config.min_lr_ratio + (1.0 - config.min_lr_ratio) * left)


def temperature_at(step: int, config: SamplingConfig) -> float:
    """Sampling temperature of a phase that starts at `step` (R1: 1, second RL stage 0.7)."""
    return value_at(step, config.temperature, config.temperature_schedule)


def max_tokens_at(step: int, config: SamplingConfig) -> int:
    """Length limit of a phase that starts at `step` (R1-Zero: 32,768, from step 8,200 on 65,536)."""
    return int(value_at(step, config.max_tokens, config.max_tokens_schedule))


def value_at(step: int, initial: float, changes: Sequence[ScheduleStep]) -> float:
    """The value of the latest change at or before `step`; of two at the same step, the later listed."""
    value = initial
    for change in sorted(changes, key=lambda c: c.from_step):
        if change.from_step <= step:
            value = change.value
    return value


def is_reference_refresh(step: int, every: int) -> bool:
    """True if π_ref ← π_θ is due after `step` updates (R1: every 400); `every` = 0 means never."""
    return every > 0 and step > 0 and step % every == 0


def is_due(step: int, every: int, *, is_last: bool, updates: int = 1) -> bool:
    """True if something that is done every `every` updates is due after `step` of them.

    Args:
        step: updates done.
        every: period in updates; 0 means at the end alone.
        is_last: the run ends here; then everything is due once more.
        updates: how many of `step` are new since the last question, ≥ 1. A phase of M updates asks once, and what fell
            due inside it is due at its end.
    """
    return is_last or (every > 0 and step // every > (step - updates) // every)
