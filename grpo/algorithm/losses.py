"""The GRPO loss on flat completion tokens: one pure function per concept, `grpo_loss` composes them.

    L = −Σ_it a_it · ( w_it · f_it − β · KL_it )

    a_it   token_weights        aggregation; its denominators are the whole mini-batch's, so that parts add up
    ρ_it   policy_log_ratio     π_θ / π_old of the token or of its sample
    f_it   clipped_objective    min(ρA, clip(ρ)A), dual clip, CISPO
    w_it   importance_weights   π_old / π_engine, a constant; on the policy term alone, as in TRL and verl
    KL_it  kl_terms             against the reference, in the loss and not in the reward (DeepSeekMath eq. 3)

A sample-level ratio (sequence, gspo) gives each token of the sample the sample's term; under "sample_mean"
that is the printed mean over samples, without 1/|o|. R1 and V3 print the KL of whole sequences beside it, so
for ratio "sequence" KL_it is the estimator of d_i = Σ_t (log π_θ − log π_ref); for all other ratios it is
per token. An overflow of either is not clamped: the learner stops on a loss that is not finite.

Axes: C completion tokens, S samples. docs/algorithm.md shows every formula with its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from grpo.algorithm.kl import KlEstimator, kl_estimate
from grpo.algorithm.types import Denominators

RatioLevel = Literal["token", "sequence", "gspo", "cispo"]
Aggregation = Literal["sample_mean", "token_mean", "fixed_length"]
Importance = Literal["none", "token_tis", "sequence_tis", "token_mis", "sequence_mis"]


@dataclass(frozen=True)
class LossForm:
    """Which GRPO; the fields are AlgorithmConfig's, where each has its source."""

    ratio: RatioLevel = "token"
    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    aggregation: Aggregation = "sample_mean"
    kl_coef: float = 0.0
    kl_estimator: KlEstimator = "k3"
    importance: Importance = "none"
    importance_cap: float = 2.0


@dataclass(frozen=True)
class LossMetrics:
    """0-d tensors without gradient; sums over tokens unless it says maximum, so that parts of a mini-batch
    add up."""

    clipped_low: Tensor
    """Tokens whose gradient the lower bound ε_low takes (CISPO: whose weight it raises)."""
    clipped_high: Tensor
    """Likewise the upper bound."""
    dual_clipped: Tensor
    """Tokens at dual clip's bound."""
    ratio: Tensor
    ratio_max: Tensor
    """Maximum."""
    kl: Tensor
    """KL_it as in the loss; 0 without a reference."""
    importance: Tensor
    """w_it; their sum is the token count without correction."""
    importance_bound: Tensor
    """Tokens whose weight is capped (TIS) or masked (MIS)."""


def grpo_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    rollout_logprobs: Tensor | None,
    sample_ids: Tensor,
    advantages: Tensor,
    denominators: Denominators,
    form: LossForm,
) -> tuple[Tensor, LossMetrics]:
    """Loss of one part of a mini-batch; the sum over its parts is the mini-batch's loss.

    Args:
        logprobs: (C,) log π_θ, differentiable. A sample's tokens must all be in the same part.
        old_logprobs: (C,) by the learner at the start of the phase.
        ref_logprobs: (C,), or None if form.kl_coef is 0.
        rollout_logprobs: (C,) by the engine, or None if form.importance is "none".
        sample_ids: (C,) int64 in 0 … S-1.
        advantages: (S,) one for each sample.
        denominators: of the mini-batch that this is a part of.
        form: which GRPO.

    Returns:
        0-d loss and its metrics.

    Raises:
        ValueError: shapes differ, or a tensor that the form needs is None.
    """
    _check_shapes(logprobs, old_logprobs, ref_logprobs, rollout_logprobs, sample_ids, advantages, form)
    samples = len(advantages)
    weights = token_weights(sample_ids, samples, denominators, form.aggregation, logprobs.dtype)
    log_ratio = policy_log_ratio(logprobs, old_logprobs.detach(), sample_ids, samples, form.ratio)
    token_advantages = advantages.to(logprobs.dtype)[sample_ids]
    objective, clipped = clipped_objective(logprobs, log_ratio, token_advantages, form)
    importance, bound = importance_weights(old_logprobs, rollout_logprobs, sample_ids, samples, form)
    terms = importance * objective
    kl = torch.zeros_like(logprobs)
    if form.kl_coef:
        assert ref_logprobs is not None
        kl = kl_terms(logprobs, ref_logprobs, sample_ids, samples, form)
        terms = terms - form.kl_coef * kl
    with torch.no_grad():
        ratio = log_ratio.exp()
        low, high, dual = (c.sum().to(logprobs.dtype) for c in clipped)
        metrics = LossMetrics(
            clipped_low=low,
            clipped_high=high,
            dual_clipped=dual,
            ratio=ratio.sum(),
            ratio_max=ratio.max() if len(ratio) else ratio.new_zeros(()),
            kl=kl.sum(),
            importance=importance.sum(),
            importance_bound=bound.sum().to(logprobs.dtype),
        )
    return -(weights * terms).sum(), metrics


def token_weights(
    sample_ids: Tensor, samples: int, denominators: Denominators, aggregation: Aggregation, dtype: torch.dtype
) -> Tensor:
    """(C,) share of each token in the mini-batch's number.

    sample_mean 1/(|o_i| S) (DeepSeekMath eq. 3), token_mean 1/Σ|o| (DAPO 2503.14476 eq. 8), fixed_length
    1/(S L) (Dr. GRPO), with S and Σ|o| of the whole mini-batch.
    """
    ones = torch.ones(len(sample_ids), dtype=dtype, device=sample_ids.device)
    if aggregation == "token_mean":
        return ones / denominators.tokens
    if aggregation == "fixed_length":
        if denominators.fixed_length is None:
            raise ValueError("aggregation fixed_length needs denominators.fixed_length")
        return ones / (denominators.samples * denominators.fixed_length)
    if aggregation == "sample_mean":
        return 1.0 / (_sample_sums(ones, sample_ids, samples)[sample_ids] * denominators.samples)
    raise ValueError(f"unknown aggregation {aggregation!r}")


def policy_log_ratio(
    logprobs: Tensor, old_logprobs: Tensor, sample_ids: Tensor, samples: int, level: RatioLevel
) -> Tensor:
    """(C,) log π_θ/π_old of each token, or of its sample: the sum over the sample's tokens (R1 eq. 1, V3 eq.
    26) or their mean (GSPO 2507.18071 eq. 7)."""
    log_ratio = logprobs - old_logprobs
    if level in ("token", "cispo"):
        return log_ratio
    if level not in ("sequence", "gspo"):
        raise ValueError(f"unknown ratio level {level!r}")
    sums = _sample_sums(log_ratio, sample_ids, samples)
    if level == "gspo":
        # A sample without tokens has sum 0; its count must not divide by 0.
        sums = sums / _sample_sums(torch.ones_like(log_ratio), sample_ids, samples).clamp(min=1)
    return sums[sample_ids]


def clipped_objective(
    logprobs: Tensor, log_ratio: Tensor, advantages: Tensor, form: LossForm
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """(C,) policy term f of each token, and where the lower, the upper and the dual bound hold.

    f = min(ρA, clip(ρ, 1−ε_low, 1+ε_high) A); dual clip (1912.09729 eq. 5): for A < 0 at least c·A. CISPO
    (2506.13585 eq. 4): f = sg(clip(ρ)) A log π_θ, the bound limits the weight and no token loses its
    gradient; dual clip then limits the weight of A < 0 to c.
    """
    low, high = 1.0 - form.clip_low, 1.0 + form.clip_high
    ratio = log_ratio.detach().exp()
    dual = float("inf") if form.dual_clip is None else form.dual_clip
    if form.ratio == "cispo":
        weight = ratio.clamp(low, high)
        is_dual = (advantages < 0) & (weight > dual)
        return torch.where(is_dual, dual, weight) * advantages * logprobs, (
            ratio < low,
            ratio > high,
            is_dual,
        )
    is_low, is_high = (advantages < 0) & (ratio < low), (advantages > 0) & (ratio > high)
    is_dual = (advantages < 0) & (ratio > dual)
    # A bound token's ratio may have overflowed; its gradient would be 0 · inf = NaN if its exponential were
    # in the graph.
    is_free = ~(is_low | is_high | is_dual | (advantages == 0))
    free_ratio = log_ratio.masked_fill(~is_free, 0.0).exp()
    bound = torch.zeros_like(ratio)
    for is_bound, value in ((is_low, low), (is_high, high), (is_dual, dual)):
        bound = bound.masked_fill(is_bound, value)
    return torch.where(is_free, free_ratio, bound) * advantages, (is_low, is_high, is_dual)


def importance_weights(
    old_logprobs: Tensor, rollout_logprobs: Tensor | None, sample_ids: Tensor, samples: int, form: LossForm
) -> tuple[Tensor, Tensor]:
    """(C,) constant weights for engine ≠ learner, and where the cap or the mask holds.

    With v = π_old/π_engine of the token, or of its sample (product over its tokens): TIS min(v, C); MIS v
    where 1/C ≤ v ≤ C, else 0. A masked token stays in the denominators.
    """
    if form.importance == "none":
        return torch.ones_like(old_logprobs), torch.zeros_like(old_logprobs, dtype=torch.bool)
    assert rollout_logprobs is not None
    level, kind = form.importance.split("_")
    log_value = old_logprobs.detach() - rollout_logprobs.detach()
    if level == "sequence":
        log_value = _sample_sums(log_value, sample_ids, samples)[sample_ids]
    value, cap = log_value.exp(), form.importance_cap
    if kind == "tis":
        return value.clamp(max=cap), value > cap
    is_masked = (value > cap) | (value < 1.0 / cap)
    return torch.where(is_masked, 0.0, value), is_masked


def kl_terms(
    logprobs: Tensor, ref_logprobs: Tensor, sample_ids: Tensor, samples: int, form: LossForm
) -> Tensor:
    """(C,) KL estimate of each token, or for ratio "sequence" of its whole sample (R1 eq. 2)."""
    if form.ratio != "sequence":
        return kl_estimate(logprobs, ref_logprobs, form.kl_estimator)
    current = _sample_sums(logprobs, sample_ids, samples)
    reference = _sample_sums(ref_logprobs, sample_ids, samples)
    return kl_estimate(current, reference, form.kl_estimator)[sample_ids]


def _sample_sums(values: Tensor, sample_ids: Tensor, samples: int) -> Tensor:
    """(S,) sums over each sample's tokens."""
    return values.new_zeros(samples).index_add(0, sample_ids, values)


def _check_shapes(
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    rollout_logprobs: Tensor | None,
    sample_ids: Tensor,
    advantages: Tensor,
    form: LossForm,
) -> None:
    if form.kl_coef and ref_logprobs is None:
        raise ValueError("kl_coef > 0 needs ref_logprobs")
    if form.importance != "none" and rollout_logprobs is None:
        raise ValueError(f"importance {form.importance!r} needs rollout_logprobs")
    if logprobs.ndim != 1 or advantages.ndim != 1:
        raise ValueError(
            f"logprobs must be (C,) and advantages (S,), got {logprobs.shape} and {advantages.shape}"
        )
    others = {
        "old_logprobs": old_logprobs,
        "ref_logprobs": ref_logprobs,
        "rollout_logprobs": rollout_logprobs,
        "sample_ids": sample_ids,
    }
    for name, tensor in others.items():
        if tensor is not None and tensor.shape != logprobs.shape:
            raise ValueError(
                f"{name} {tuple(tensor.shape)} must have the shape of logprobs {tuple(logprobs.shape)}"
            )
