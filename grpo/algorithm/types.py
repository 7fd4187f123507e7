"""The data that travels from the scored groups to the optimizer. NumPy only: it crosses process borders.

train = TrainGroup(prompt_ids=…, samples=(TrainSample(…), …))     one prompt, its kept samples
phase = [TrainGroup, …]  ──split──▶  mini-batches of (group, sample) ──pack──▶ micro-batches
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TrainSample:
    """One kept sample with its advantage."""

    token_ids: NDArray[np.int32]
    """(L,) int32 completion tokens, the stop token included."""
    rollout_logprobs: NDArray[np.float32]
    """(L,) float32, by the engine, under the sampling distribution."""
    advantage: float
    prompt_id: str
    index: int


@dataclass(frozen=True)
class TrainGroup:
    """One prompt and those of its samples that train. `prompt_ids` is computed once for all of them."""

    prompt_ids: NDArray[np.int32]
    """(P,) int32."""
    samples: tuple[TrainSample, ...]
    index: int = 0
    """Index of the scored group in its phase: a prompt may come twice at the border of two epochs."""


@dataclass(frozen=True)
class Denominators:
    """The numbers that divide the loss of a mini-batch, counted over all its micro-batches and ranks."""

    samples: int
    tokens: int
    fixed_length: int | None = None
    """Divisor per sample of aggregation "fixed_length", in tokens."""


@dataclass(frozen=True)
class StepReport:
    """The metrics of one optimizer update, by the names of grpo/tracking/metrics.py, which has their units."""

    step: int
    metrics: dict[str, float]
