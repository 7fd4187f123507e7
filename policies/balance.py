"""Balance losses of experts (V3 2412.19437 eq. 17-20, V2 2405.04434 eq. 23-31) and V2's dropping of tokens.

    f, P = expert_loads(affinities_TE, chosen_TK, sequences_T, S)
    expert_loss(f, P), device_loss(f, P, devices), communication_loss(…)     Σ over sequences, without α
    kept = within_capacity(…)                                               which (token, expert) pairs are computed

All losses are of one layer. T in the papers is the number of tokens of a sequence; as sums over sequences they do not
depend on what else is in a pack, and the caller divides by the sequences of the whole batch. Only P has a gradient:
f counts choices. Affinities are a token's shares over all experts: V2's softmax, V3's sigmoid over its sum.

Axes: T tokens of a pack, E experts, K experts of a token, S sequences, D devices (the groups of a router's config).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def shares(logits_TE: Tensor, *, sigmoid: bool) -> Tensor:
    """Compute (T, E) float32 affinities that sum to 1: V3's s/Σs of sigmoids (eq. 19), or V2's softmax."""
    logits = logits_TE.float()
    if not sigmoid:
        return logits.softmax(-1)
    scores = logits.sigmoid()
    return scores / scores.sum(-1, keepdim=True)


def unbiased_choice(logits_TE: Tensor, top_k: int) -> Tensor:
    """Return (T, K) experts of the highest affinities without bias or groups, as V3's eq. 18 prints TopK."""
    return logits_TE.topk(top_k, dim=-1).indices


Total = Callable[[Tensor], Tensor]
"""Sums a constant over the ranks that divide the tokens of a sequence among them."""


def here_alone(counted: Tensor) -> Tensor:
    """Return a sum as it is: all tokens of a sequence are on this rank."""
    return counted


def expert_loads(
    affinities_TE: Tensor,
    chosen_TK: Tensor,
    sequences_T: Tensor,
    count: int,
    total: Total = here_alone,
) -> tuple[Tensor, Tensor]:
    """Compute f_i = E/(K T) Σ_t 1[t chose i] and P_i = 1/T Σ_t s_it of every sequence.

    Args:
        affinities_TE: of `shares`.
        chosen_TK: int64.
        sequences_T: int64, each token's sequence, 0 … count-1; -1 is a token that does not count.
        count: S.
        total: where ranks divide a sequence's tokens, so that f and T are those of the whole sequence.
    Returns:
        (S, E) f without a gradient, and (S, E) P; 0 for a sequence without tokens. P is this rank's part of the sum,
        and so is every loss of it.
    """
    experts, top_k = affinities_TE.shape[1], chosen_TK.shape[1]
    counted = sequences_T >= 0
    rows = sequences_T[counted]
    lengths = _lengths(rows, count, total).to(affinities_TE.dtype)
    zeros = affinities_TE.new_zeros(count, experts)
    hits = torch.zeros_like(affinities_TE).scatter_(1, chosen_TK, 1.0).detach()
    fraction = total(zeros.index_add(0, rows, hits[counted])) * experts / (top_k * lengths)
    return fraction, zeros.index_add(0, rows, affinities_TE[counted]) / lengths


def expert_loss(fraction_SE: Tensor, affinity_SE: Tensor) -> Tensor:
    """Return Σ_sequences Σ_i f_i P_i, 0-d: V2's expert-level loss (eq. 23) and V3's sequence-wise one (eq. 17)."""
    return (fraction_SE * affinity_SE).sum()


def device_loss(fraction_SE: Tensor, affinity_SE: Tensor, devices: int) -> Tensor:
    """Return Σ_sequences Σ_d f'_d P'_d, 0-d, with f' the mean and P' the sum over a device's experts (V2 eq. 26-28)."""
    by_device = (len(fraction_SE), devices, -1)
    return (fraction_SE.view(by_device).mean(-1) * affinity_SE.view(by_device).sum(-1)).sum()


def communication_loss(
    affinity_SE: Tensor,
    chosen_TK: Tensor,
    sequences_T: Tensor,
    *,
    devices: int,
    limit: int,
    total: Total = here_alone,
) -> Tensor:
    """Return Σ_sequences Σ_d f''_d P''_d, 0-d, f''_d = D/(M T) Σ_t 1[t is sent to d] (V2 eq. 29-31).

    Args:
        affinity_SE: P of `expert_loads`.
        chosen_TK, sequences_T, total: as there.
        devices: D.
        limit: M, the most devices of a token (V2: 3).
    """
    count, experts = affinity_SE.shape
    counted = sequences_T >= 0
    rows = sequences_T[counted]
    sent = affinity_SE.new_zeros(len(chosen_TK), devices)
    sent.scatter_(1, chosen_TK // (experts // devices), 1.0)
    lengths = _lengths(rows, count, total).to(sent.dtype)
    meetings = total(sent.new_zeros(count, devices).index_add(0, rows, sent[counted]))
    fraction = meetings * devices / (limit * lengths)
    return (fraction * affinity_SE.view(count, devices, -1).sum(-1)).sum()


def _lengths(rows: Tensor, count: int, total: Total) -> Tensor:
    """Return (S, 1) tokens of each sequence, 1 for one without."""
    return total(torch.bincount(rows, minlength=count)).clamp(min=1)[:, None]


def within_capacity(
    weights_TK: Tensor,
    chosen_TK: Tensor,
    *,
    counted_T: Tensor,
    exempt_T: Tensor,
    experts: int,
    devices: int,
    capacity: float,
) -> Tensor:
    """Tell which (token, expert) pairs a device's budget leaves (V2 §2.2.4).

    Each device computes at most `capacity` times the mean number of pairs per device; above it, those of the lowest
    affinity are dropped. Pairs of exempt tokens count in the budget and are never dropped.

    Args:
        weights_TK: affinities of the chosen experts, in any scale.
        chosen_TK: int64, the experts.
        counted_T: bool, tokens that take part; others are kept and count nowhere.
        exempt_T: bool, tokens of sequences that are never dropped.
        experts, devices: E and D; expert i is on device i // (E/D).
        capacity: factor on the mean load (V2: 1.0).
    Returns:
        (T, K) bool, True: kept.
    """
    device = (chosen_TK // (experts // devices)).flatten()
    top_k = chosen_TK.shape[1]
    counted = counted_T.repeat_interleave(top_k)
    exempt = exempt_T.repeat_interleave(top_k)
    budget = int(capacity * int(counted_T.sum()) * top_k / devices)
    # Exempt pairs stand before all others, whose affinities are positive.
    rank = torch.where(exempt, torch.inf, weights_TK.detach().flatten())
    kept = torch.ones_like(counted)
    for number in range(devices):
        pairs = (counted & (device == number)).nonzero()[:, 0]
        order = rank[pairs].argsort(descending=True, stable=True)
        kept[pairs[order[budget:]]] = False
    return (kept | exempt).view_as(chosen_TK)
