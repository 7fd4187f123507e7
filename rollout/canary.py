"""Fixed prompts whose log-probs prove that an engine computes what the learner does.

A digest proves that the bytes arrived. Engines then repack, fuse and cache them; an error in that part only shows in
what the engine computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollout.errors import WeightSyncError


@dataclass(frozen=True)
class Canary:
    """A fixed prompt with the learner's log-probs of its tokens."""

    token_ids: tuple[int, ...]
    """n ≥ 2 tokens."""
    logprobs: np.ndarray
    """(n-1,) float32 log-probs of tokens 1 … n-1 at temperature 1, in nats."""


@dataclass(frozen=True)
class CanaryTolerance:
    """The largest accepted |Δ log-prob| between engine and learner on the canary prompts, in nats."""

    each: float
    """Limit for every single token."""
    mean: float
    """Limit for the mean over all canary tokens."""


CANARY_TOLERANCES = {
    "float32": CanaryTolerance(each=1e-3, mean=2e-4),
    # Hidden states that differ by bfloat16's rounding may lead to other experts, and single tokens then differ a lot.
    # Stale experts or a stale head differ by 0.3 nats and more on average.
    "bfloat16": CanaryTolerance(each=2.0, mean=0.15),
}
"""Tolerances by the engine's dtype."""


def check_canary(
    canaries: Sequence[Canary], found: Sequence[np.ndarray], tolerance: CanaryTolerance, version: int
) -> tuple[float, float]:
    """Compare the engine's log-probs of the canary prompts with the learner's.

    Args:
        canaries: the published prompts with the learner's log-probs.
        found: the engine's log-probs, in the same order and shapes.
        tolerance: accepted differences.
        version: policy version of the weights, for the error message.

    Returns:
        (largest, mean) |Δ| in nats over all canary tokens; (nan, nan) without a canary.

    Raises:
        WeightSyncError: the difference exceeds the tolerance, or either side is NaN; the message names prompt,
            position and both values of the worst token.
    """
    if not canaries:
        return float("nan"), float("nan")
    if len(found) != len(canaries):
        raise WeightSyncError(f"{len(canaries)} canary prompts, {len(found)} answers")
    mismatches = []
    for number, (canary, got) in enumerate(zip(canaries, found, strict=True)):
        if got.shape != canary.logprobs.shape:
            raise WeightSyncError(
                f"canary prompt {number}: {got.shape} log-probs, expected {canary.logprobs.shape}"
            )
        mismatch = np.abs(got.astype(np.float64) - canary.logprobs.astype(np.float64))
        mismatches.append(np.where(np.isnan(mismatch), np.inf, mismatch))
    largest = max(float(mismatch.max()) for mismatch in mismatches)
    mean = float(np.concatenate(mismatches).mean())
    if largest > tolerance.each or mean > tolerance.mean:
        number = max(range(len(mismatches)), key=lambda i: float(mismatches[i].max()))
        position = int(mismatches[number].argmax())
        canary = canaries[number]
        raise WeightSyncError(
            f"the engine does not compute what the learner does after loading version {version}: "
            f"canary prompt {number}, position {position + 1} (token {canary.token_ids[position + 1]}): engine "
            f"{found[number][position]:.6f}, learner {canary.logprobs[position]:.6f}; mean |Δ| over the canary "
            f"{mean:.2g}, allowed {tolerance.mean:.2g} (each token {tolerance.each:.2g})"
        )
    return largest, mean
