"""Estimators of KL(π_θ ‖ π_ref) from samples of π_θ (Schulman, "Approximating KL divergence", 2020).

With d = log π_θ − log π_ref of the sampled token (or, added up, of the sampled sequence):

    k1 = d                  unbiased, any sign; the mean of its gradient is 0: as a loss it only adds noise
    k2 = d² / 2             biased, ≥ 0; its gradient is that of the true KL in expectation
    k3 = e^(−d) + d − 1     unbiased, ≥ 0; as DeepSeekMath (2402.03300 eq. 4), V2, V3 and R1 print it

An estimator takes log π_θ and log π_ref, float32 of one shape, and returns the estimate of each element in nats,
differentiable in the first; elements do not see each other. No clamp: a k3 that overflows is a diverged policy, and the
learner stops on it.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from grpo.algorithm.segments import describe

KlEstimator = Callable[[Tensor, Tensor], Tensor]


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """d."""
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """d² / 2."""
    return 0.5 * (logprobs - ref_logprobs).square()


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """e^(−d) + d − 1."""
    difference = logprobs - ref_logprobs
    # expm1 keeps the value for small d, where e^(−d) − 1 cancels.
    return (-difference).expm1() + difference


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: KlEstimator) -> Tensor:
    """KL estimate per element, differentiable in `logprobs`.

    Args:
        logprobs: log π_θ, any shape.
        ref_logprobs: log π_ref, the same shape; a constant.
        estimator: see the module.

    Returns:
        The shape of `logprobs`, nats.

    Raises:
        ValueError: shapes differ, or the estimator returns another shape or dtype.
    """
    if logprobs.shape != ref_logprobs.shape:
        raise ValueError(
            f"logprobs {tuple(logprobs.shape)} and ref_logprobs {tuple(ref_logprobs.shape)} differ"
        )
    found = estimator(logprobs, ref_logprobs.detach())
    if not isinstance(found, Tensor) or found.shape != logprobs.shape or found.dtype != logprobs.dtype:
        raise ValueError(f"algorithm.kl_estimator returned {describe(found)}; expected {describe(logprobs)}")
    return found
