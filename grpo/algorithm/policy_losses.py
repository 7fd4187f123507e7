"""Policy losses: from the ratio and the advantage of each completion token to its objective f.

    clip     f = min(ρA, clip(ρ, 1−ε_low, 1+ε_high) A)      PPO (1707.06347) eq. 7; dual clip 1912.09729 eq. 5
    cispo    f = sg(clip(ρ)) A log π_θ                      MiniMax-M1 (2506.13585) eq. 4

A policy loss takes a `PolicyBatch` and returns a `PolicyTerm`; docs/algorithm.md has the contract for your own.
Axes: C completion tokens, S samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from grpo.config.algorithm import AlgorithmConfig


@dataclass(frozen=True)
class PolicyBatch:
    """What a policy loss sees: the completion tokens of one micro-batch. A sample's tokens are all in the same one."""

    logprobs: Tensor
    """(C,) float32 log π_θ; the gradient goes here."""
    old_logprobs: Tensor
    """(C,) float32 log π_old, a constant."""
    log_ratio: Tensor
    """(C,) float32 log π_θ/π_old at the level of algorithm.ratio, differentiable in `logprobs`."""
    advantages: Tensor
    """(C,) float32 A of the token's sample, a constant."""
    sample_ids: Tensor
    """(C,) int64 in 0 … S-1: the sample of each token."""
    samples: int
    """S; a sample may have no tokens."""
    config: AlgorithmConfig
    """The recipe's [algorithm]: clip_low, clip_high, dual_clip."""


@dataclass(frozen=True)
class PolicyTerm:
    """What a policy loss returns. The loss is −Σ weight · importance · objective over the tokens."""

    objective: Tensor
    """(C,) dtype of `logprobs`: f of each token, to be maximised, before importance weights and aggregation. It depends
    on the tokens of its own sample alone, so that micro-batches and ranks change nothing but rounding."""
    clipped_low: Tensor | None = None
    """(C,) bool, for the metrics: the lower bound holds; None: nowhere."""
    clipped_high: Tensor | None = None
    """Likewise the upper bound."""
    dual_clipped: Tensor | None = None
    """Likewise dual clip's bound."""


PolicyLoss = Callable[[PolicyBatch], PolicyTerm]


def clip(batch: PolicyBatch) -> PolicyTerm:
    """The clipped surrogate; with dual_clip = c at least c·A for A < 0."""
    low, high = 1.0 - batch.config.clip_low, 1.0 + batch.config.clip_high
    advantages, ratio, dual = batch.advantages, batch.log_ratio.detach().exp(), _dual(batch.config)
    is_low, is_high = (advantages < 0) & (ratio < low), (advantages > 0) & (ratio > high)
    is_dual = (advantages < 0) & (ratio > dual)
    # A bound token's ratio may have overflowed; its gradient would be 0 · inf = NaN if its exponential were
    # in the graph.
    is_free = ~(is_low | is_high | is_dual | (advantages == 0))
    free_ratio = batch.log_ratio.masked_fill(~is_free, 0.0).exp()
    bound = torch.zeros_like(ratio)
    for is_bound, value in ((is_low, low), (is_high, high), (is_dual, dual)):
        bound = bound.masked_fill(is_bound, value)
    return PolicyTerm(torch.where(is_free, free_ratio, bound) * advantages, is_low, is_high, is_dual)


def cispo(batch: PolicyBatch) -> PolicyTerm:
    """The clipped ratio as a constant weight: the bounds limit it and no token loses its gradient.

    With dual_clip = c the weight of a token with A < 0 is at most c.
    """
    low, high = 1.0 - batch.config.clip_low, 1.0 + batch.config.clip_high
    ratio, dual = batch.log_ratio.detach().exp(), _dual(batch.config)
    weight = ratio.clamp(low, high)
    is_dual = (batch.advantages < 0) & (weight > dual)
    objective = torch.where(is_dual, dual, weight) * batch.advantages * batch.logprobs
    return PolicyTerm(objective, ratio < low, ratio > high, is_dual)


def _dual(config: AlgorithmConfig) -> float:
    return float("inf") if config.dual_clip is None else config.dual_clip
