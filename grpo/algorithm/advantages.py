"""Group-relative advantages: what replaces PPO's value network.

    std            A_i = (r_i − mean(r)) / std(r)      DeepSeekMath (2402.03300) §4.1.2; R1 (2501.12948) eq. 3
    mean           A_i = r_i − mean(r)                 Dr. GRPO (2503.20783)
    leave_one_out  A_i = r_i − mean(r_j, j ≠ i)        RLOO (2402.14740)

The papers print no ε in the denominator and do not say which standard deviation; ours is the population's (÷
n). A group without spread has no std: its advantages are exactly 0, not rounding noise over an epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

Scale = Literal["std", "mean", "leave_one_out"]

ROUNDING = 1e-12
"""Rewards closer than this share of the largest are equal: weighted sums of the same parts in float64, such
as 0.1 + 0.2 and 0.3, differ by about 1e-16, and std would blow that up to ±1."""


def has_spread(rewards: Sequence[float] | np.ndarray) -> bool:
    """True if the rewards of a group differ by more than rounding."""
    values = np.asarray(rewards, dtype=np.float64)
    return len(values) > 0 and bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def group_advantages(rewards: np.ndarray, group_ids: np.ndarray, scale: Scale) -> np.ndarray:
    """Advantage of each sample within its group.

    Args:
        rewards: (N,) one outcome reward per kept sample; abstentions are already removed.
        group_ids: (N,) integers, equal for samples of one group; any order.
        scale: see the module.

    Returns:
        (N,) float64. Permuting the samples permutes the advantages, bit for bit.

    Raises:
        ValueError: shapes differ, a reward is not finite, a group has one sample, or the scale is unknown.
    """
    rewards, group_ids = np.asarray(rewards, dtype=np.float64), np.asarray(group_ids)
    if rewards.ndim != 1 or rewards.shape != group_ids.shape:
        raise ValueError(f"rewards {rewards.shape} and group_ids {group_ids.shape} must be (N,) both")
    if not np.isfinite(rewards).all():
        raise ValueError("a reward is not finite; an abstention must be removed, not passed as NaN")
    if scale not in ("std", "mean", "leave_one_out"):
        raise ValueError(f"unknown advantage scale {scale!r}")
    advantages = np.zeros_like(rewards)
    for group in np.unique(group_ids):
        members = np.flatnonzero(group_ids == group)
        if len(members) < 2:
            raise ValueError(f"group {group} has one sample; nothing to compare it with")
        if has_spread(rewards[members]):
            advantages[members] = _of_group(rewards[members], scale)
    return advantages


def _of_group(rewards: np.ndarray, scale: Scale) -> np.ndarray:
    """(n,) of one group with spread. fsum is exact, so the order of the samples does not reach the last
    bit."""
    n = len(rewards)
    if scale == "std":
        # (r − mean)/std is the same for shifted and scaled rewards; in [0, 1] no square under- or overflows.
        low, high = rewards.min(), rewards.max()
        rewards = (rewards - low) / (high - low)
    centred = rewards - math.fsum(rewards) / n
    if scale == "std":
        return centred / math.sqrt(math.fsum(centred**2) / n)
    return centred if scale == "mean" else centred * (n / (n - 1))
