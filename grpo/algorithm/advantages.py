"""Group-relative advantages: what replaces PPO's value network.

    std            A_i = (r_i − mean(r)) / std(r)      DeepSeekMath (2402.03300) §4.1.2; R1 (2501.12948) eq. 3
    mean           A_i = r_i − mean(r)                 Dr. GRPO (2503.20783)
    leave_one_out  A_i = r_i − mean(r_j, j ≠ i)        RLOO (2402.14740)

The papers print no ε in the denominator and do not say which standard deviation; ours is the population's (÷ n). A
group whose rewards are all equal has no std: its advantages are exactly 0, not rounding noise over an epsilon.

An estimator takes the rewards of one group, (n,) float64 with n ≥ 2, and returns its advantages, (n,) and finite. It is
called for every group, also for one whose rewards are all equal; rewards that differ by rounding alone are made equal
before the call. NumPy alone: it runs in the driver.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rewards = NDArray[np.float64]
AdvantageEstimator = Callable[[Rewards], Rewards]

ROUNDING = 1e-9
"""Rewards closer than this share of their scale are equal: float64 sums such as 0.1 + 0.2 − 0.3 and 0 differ by 1e-16
of the largest term, and std would blow that up to ±1."""


def has_spread(rewards: Sequence[float] | Rewards, scale: float = 1.0) -> bool:
    """True if the rewards of a group differ by more than rounding.

    Args:
        rewards: (n,) of one group.
        scale: size of the terms that were added up (`rewards.types.ScoredGroup.scale`). Terms that cancel leave a small
            total with the rounding of the large ones. 0 asks whether the totals differ at all, given their own size.
    """
    values = np.asarray(rewards, dtype=np.float64)
    return len(values) > 0 and bool(np.ptp(values) > ROUNDING * max(scale, np.abs(values).max()))


def std(rewards: Rewards) -> Rewards:
    """(r − mean) / std of one group, (n,)."""
    if rewards.min() == rewards.max():
        return np.zeros_like(rewards)
    # (r − mean)/std is the same for shifted and scaled rewards; in [0, 1] no square under- or overflows.
    low, high = rewards.min(), rewards.max()
    centred = _centred((rewards - low) / (high - low))
    scaled: Rewards = centred / math.sqrt(math.fsum(centred**2) / len(rewards))
    return scaled


def mean(rewards: Rewards) -> Rewards:
    """r − mean of one group, (n,)."""
    return _centred(rewards) if rewards.min() < rewards.max() else np.zeros_like(rewards)


def leave_one_out(rewards: Rewards) -> Rewards:
    """r − mean of the others of one group, (n,)."""
    n = len(rewards)
    scaled: Rewards = mean(rewards) * (n / (n - 1))
    return scaled


def group_advantages(
    rewards: ArrayLike, group_ids: ArrayLike, estimator: AdvantageEstimator, scale: float = 1.0
) -> Rewards:
    """Advantage of each sample within its group.

    Args:
        rewards: (N,) one outcome reward per kept sample; abstentions are already removed.
        group_ids: (N,) integers, equal for samples of one group; any order.
        estimator: of one group's rewards; it cannot write into them.
        scale: see `has_spread`; a group without spread reaches the estimator with its lowest reward in every place.

    Returns:
        (N,) float64. With the estimators of this module, permuting the samples permutes the advantages, bit for bit.

    Raises:
        ValueError: shapes differ, a reward is not finite, a group has one sample, or the estimator returns another
            shape or a number that is not finite.
    """
    values, ids = np.array(rewards, dtype=np.float64), np.asarray(group_ids)
    if values.ndim != 1 or values.shape != ids.shape:
        raise ValueError(f"rewards {values.shape} and group_ids {ids.shape} must both be (N,)")
    if not np.isfinite(values).all():
        raise ValueError("a reward is not finite; an abstention must be removed, not passed as NaN")
    advantages = np.zeros_like(values)
    for group in np.unique(ids):
        members = np.flatnonzero(ids == group)
        if len(members) < 2:
            raise ValueError(f"group {group} has one sample; nothing to compare it with")
        group_rewards = values[members]
        if not has_spread(group_rewards, scale):
            group_rewards = np.full_like(group_rewards, group_rewards.min())
        advantages[members] = _estimate(group_rewards, estimator)
    return advantages


def _estimate(rewards: Rewards, estimator: AdvantageEstimator) -> Rewards:
    rewards.flags.writeable = False
    found = np.asarray(estimator(rewards))
    if found.shape != rewards.shape or found.dtype.kind not in "fiu":
        raise ValueError(
            f"algorithm.advantage returned {found.dtype} {found.shape} for {rewards.shape} rewards; expected one "
            "number per reward"
        )
    if not np.isfinite(found).all():
        raise ValueError(
            f"algorithm.advantage returned {found.tolist()} for rewards {rewards.tolist()}; expected finite numbers"
        )
    return found.astype(np.float64)


def _centred(rewards: Rewards) -> Rewards:
    """(n,) r − mean. fsum is exact, so the order of the samples does not reach the last bit."""
    centred: Rewards = rewards - math.fsum(rewards) / len(rewards)
    return centred
