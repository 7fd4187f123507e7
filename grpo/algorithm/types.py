"""What travels from the scored groups to the optimizer. NumPy only: these cross process borders.

train = TrainGroup(prompt_ids=…, samples=(TrainSample(…), …))     one prompt, its kept samples
phase = [TrainGroup, …]  ──split──▶  mini-batches of (group, sample) ──pack──▶ micro-batches
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainSample:
    """One kept sample with its advantage."""

    token_ids: np.ndarray
    """(L,) int32 completion tokens, the stop token included."""
    rollout_logprobs: np.ndarray
    """(L,) float32, by the engine, under the sampling distribution."""
    advantage: float
    prompt_id: str
    index: int


@dataclass(frozen=True)
class TrainGroup:
    """One prompt and those of its samples that train. `prompt_ids` is computed once for all of them."""

    prompt_ids: np.ndarray
    """(P,) int32."""
    samples: tuple[TrainSample, ...]
    place: int = 0
    """Of the scored group in its phase: a prompt may come twice at the border of two epochs."""


@dataclass(frozen=True)
class Denominators:
    """What the loss of a mini-batch is divided by: of the whole of it, over all micro-batches and ranks."""

    samples: int
    tokens: int
    fixed_length: int | None = None
    """Divisor per sample of aggregation "fixed_length", in tokens."""


@dataclass(frozen=True)
class StepReport:
    """What one optimizer update tells: scalars by metric name (see grpo/tracking/metrics.py for names and units)."""

    step: int
    metrics: dict[str, float]
