"""Fixed prompts whose log-probs prove that an engine computes what the learner does.

A digest proves that bytes arrived; engines then repack, fuse and cache them, and what goes wrong there shows
only in what they compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rollout.errors import WeightSyncError


@dataclass(frozen=True)
class Canary:
    """A fixed prompt and the learner's log-probs of it."""

    token_ids: tuple[int, ...]
    """n ≥ 2 tokens."""
    logprobs: np.ndarray
    """(n-1,) float32, of tokens 1 … n-1 at T = 1."""


@dataclass(frozen=True)
class CanaryTolerance:
    """How far engine and learner may be apart on a canary, in nats."""

    each: float
    """Of any one token."""
    mean: float
    """Of all canary tokens on average."""


CANARY_TOLERANCES = {
    "float32": CanaryTolerance(each=1e-3, mean=2e-4),
    # A router that is tied to within bfloat16 may choose other experts; single tokens then differ by much.
    # Stale experts or a stale head differ by 0.3 and more on average.
    "bfloat16": CanaryTolerance(each=2.0, mean=0.15),
}
"""By the engine's dtype."""


def check_canary(
    canaries: Sequence[Canary], found: Sequence[np.ndarray], tolerance: CanaryTolerance, version: int
) -> tuple[float, float]:
    """Compare the engine's log-probs of the canary prompts with the learner's.

    Args:
        canaries: the published ones, with the learner's log-probs.
        found: the engine's, in the same order and shapes.
        tolerance: what may differ.
        version: of the weights, for the message.

    Returns:
        (largest, mean) |Δ| in nats over all canary tokens; nan, nan without a canary.

    Raises:
        WeightSyncError: names prompt, position and both values of the worst token. A NaN on either side
            fails.
    """
    if not canaries:
        return float("nan"), float("nan")
    if len(found) != len(canaries):
        raise WeightSyncError(f"{len(canaries)} canary prompts, {len(found)} answers")
    gaps = []
    for number, (canary, got) in enumerate(zip(canaries, found, strict=True)):
        if got.shape != canary.logprobs.shape:
            raise WeightSyncError(
                f"canary prompt {number}: {got.shape} log-probs, expected {canary.logprobs.shape}"
            )
        gap = np.abs(got.astype(np.float64) - canary.logprobs.astype(np.float64))
        gaps.append(np.where(np.isnan(gap), np.inf, gap))
    largest = max(float(gap.max()) for gap in gaps)
    mean = float(np.concatenate(gaps).mean())
    if largest > tolerance.each or mean > tolerance.mean:
        number = max(range(len(gaps)), key=lambda i: float(gaps[i].max()))
        place = int(gaps[number].argmax())
        canary = canaries[number]
        raise WeightSyncError(
            f"the engine does not compute what the learner does after loading version {version}: "
            f"canary prompt {number}, position {place + 1} (token {canary.token_ids[place + 1]}): engine "
            f"{found[number][place]:.6f}, learner {canary.logprobs[place]:.6f}; mean |Δ| over the canary "
            f"{mean:.2g}, allowed {tolerance.mean:.2g} (each token {tolerance.each:.2g})"
        )
    return largest, mean
