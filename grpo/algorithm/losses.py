"""The GRPO loss on flat completion tokens: one pure function per concept, `grpo_loss` composes them.

    L = −Σ_it a_it · ( w_it · f_it − β · KL_it )

    a_it   aggregation      grpo/algorithm/aggregations.py    its denominators are the whole mini-batch's
    ρ_it   ratio            grpo/algorithm/ratios.py          π_θ / π_old of the token or of its sample
    f_it   policy loss      grpo/algorithm/policy_losses.py   min(ρA, clip(ρ)A), dual clip, CISPO
    w_it   importance       grpo/algorithm/importance.py      π_old / π_engine, a constant on f alone, as TRL and verl
    KL_it  KL estimator     grpo/algorithm/kl.py              in the loss and not in the reward (DeepSeekMath eq. 3)

A sample-level ratio (sequence, gspo) gives each token of the sample the sample's term; under "sample_mean"
that is the printed mean over samples, without 1/|o|. R1 and V3 print the KL of whole sequences beside it, so
for ratio "sequence" KL_it is the estimator of d_i = Σ_t (log π_θ − log π_ref); for all other ratios it is
per token. An overflow of either is not clamped: the learner stops on a loss that is not finite.

Axes: C completion tokens, S samples. docs/algorithm.md shows every formula with its source.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from grpo.algorithm.aggregations import Aggregation
from grpo.algorithm.importance import Importance
from grpo.algorithm.kl import KlEstimator, kl_estimate
from grpo.algorithm.policy_losses import PolicyBatch, PolicyLoss, PolicyTerm
from grpo.algorithm.ratios import Ratio
from grpo.algorithm.segments import describe, sample_sums
from grpo.algorithm.types import Denominators
from grpo.config.algorithm import AlgorithmConfig


@dataclass(frozen=True)
class LossForm:
    """Which GRPO: a recipe's [algorithm] and the functions that it names."""

    config: AlgorithmConfig
    ratio: Ratio
    policy_loss: PolicyLoss
    aggregation: Aggregation
    kl_estimator: KlEstimator
    importance: Importance


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
        ref_logprobs: (C,), or None if form.config.kl_coef is 0.
        rollout_logprobs: (C,) by the engine, or None if form.config.importance is "none".
        sample_ids: (C,) int64 in 0 … S-1.
        advantages: (S,) one for each sample.
        denominators: of the mini-batch that this is a part of.
        form: which GRPO.

    Returns:
        0-d loss and its metrics.

    Raises:
        ValueError: shapes differ, a tensor that the form needs is None, or the policy loss or the KL estimator
            returns another shape.
    """
    _check_shapes(logprobs, old_logprobs, ref_logprobs, rollout_logprobs, sample_ids, advantages, form.config)
    samples, old_logprobs = len(advantages), old_logprobs.detach()
    weights = form.aggregation(torch.ones_like(logprobs), sample_ids, samples, denominators)
    log_ratio = form.ratio(logprobs - old_logprobs, sample_ids, samples)
    term = policy_term(
        form.policy_loss,
        PolicyBatch(
            logprobs=logprobs,
            old_logprobs=old_logprobs,
            log_ratio=log_ratio,
            advantages=advantages.to(logprobs.dtype)[sample_ids],
            sample_ids=sample_ids,
            samples=samples,
            config=form.config,
        ),
    )
    log_value = old_logprobs - (old_logprobs if rollout_logprobs is None else rollout_logprobs.detach())
    importance, bound = form.importance(log_value, sample_ids, samples, form.config.importance_cap)
    terms = importance * term.objective
    kl = torch.zeros_like(logprobs)
    if ref_logprobs is not None and form.config.kl_coef:
        kl = kl_terms(logprobs, ref_logprobs, sample_ids, samples, form)
        terms = terms - form.config.kl_coef * kl
    with torch.no_grad():
        ratio = log_ratio.exp()
        metrics = LossMetrics(
            clipped_low=_count(term.clipped_low, logprobs),
            clipped_high=_count(term.clipped_high, logprobs),
            dual_clipped=_count(term.dual_clipped, logprobs),
            ratio=ratio.sum(),
            ratio_max=ratio.max() if len(ratio) else ratio.new_zeros(()),
            kl=kl.sum(),
            importance=importance.sum(),
            importance_bound=_count(bound, logprobs),
        )
    return -(weights * terms).sum(), metrics


def policy_term(policy_loss: PolicyLoss, batch: PolicyBatch) -> PolicyTerm:
    """The policy loss's term, with its shapes checked.

    Raises:
        ValueError: it returned something else than the contract says.
    """
    term = policy_loss(batch)
    if not isinstance(term, PolicyTerm):
        raise ValueError(
            f"algorithm.policy_loss returned {type(term).__name__}; expected PolicyTerm(objective)"
        )
    masks = {n: getattr(term, n) for n in ("clipped_low", "clipped_high", "dual_clipped")}
    given = {"objective": term.objective} | {n: mask for n, mask in masks.items() if mask is not None}
    for name, value in given.items():
        dtype = batch.logprobs.dtype if name == "objective" else torch.bool
        if not isinstance(value, Tensor) or value.shape != batch.logprobs.shape or value.dtype != dtype:
            raise ValueError(
                f"algorithm.policy_loss returned {name} {describe(value)}; expected {dtype} "
                f"{tuple(batch.logprobs.shape)}"
            )
    return term


def kl_terms(
    logprobs: Tensor, ref_logprobs: Tensor, sample_ids: Tensor, samples: int, form: LossForm
) -> Tensor:
    """(C,) KL estimate of each token, or for ratio "sequence" of its whole sample (R1 eq. 2)."""
    if form.config.ratio != "sequence":
        return kl_estimate(logprobs, ref_logprobs, form.kl_estimator)
    current = sample_sums(logprobs, sample_ids, samples)
    reference = sample_sums(ref_logprobs, sample_ids, samples)
    return kl_estimate(current, reference, form.kl_estimator)[sample_ids]


def _count(mask: Tensor | None, like: Tensor) -> Tensor:
    """0-d number of True, in the dtype of `like`."""
    return like.new_zeros(()) if mask is None else mask.sum().to(like.dtype)


def _check_shapes(
    logprobs: Tensor,
    old_logprobs: Tensor,
    ref_logprobs: Tensor | None,
    rollout_logprobs: Tensor | None,
    sample_ids: Tensor,
    advantages: Tensor,
    config: AlgorithmConfig,
) -> None:
    if config.kl_coef and ref_logprobs is None:
        raise ValueError("kl_coef > 0 needs ref_logprobs")
    if config.importance != "none" and rollout_logprobs is None:
        raise ValueError(f"importance {config.importance!r} needs rollout_logprobs")
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
