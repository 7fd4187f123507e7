"""Importance weights that correct for engine ≠ learner, with v = π_old/π_engine of the token or of its sample.

    none                        w = 1
    token_tis, sequence_tis     w = min(v, C)                         truncated importance sampling
    token_mis, sequence_mis     w = v where 1/C ≤ v ≤ C, else 0       masked importance sampling

v of a sample is the product over its tokens. All weights are constants. A masked token stays in the denominators.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grpo.algorithm.ratios import sequence

Importance = Callable[[Tensor, Tensor, int, float], tuple[Tensor, Tensor]]
"""(log v of the tokens (C,), sample_ids (C,), S, C) → weights (C,), and where the cap or the mask holds, (C,) bool."""


def none(log_value: Tensor, sample_ids: Tensor, samples: int, cap: float) -> tuple[Tensor, Tensor]:
    """Ones."""
    return torch.ones_like(log_value), torch.zeros_like(log_value, dtype=torch.bool)


def token_tis(log_value: Tensor, sample_ids: Tensor, samples: int, cap: float) -> tuple[Tensor, Tensor]:
    """Truncated, by token."""
    value = log_value.exp()
    return value.clamp(max=cap), value > cap


def sequence_tis(log_value: Tensor, sample_ids: Tensor, samples: int, cap: float) -> tuple[Tensor, Tensor]:
    """Truncated, by sample."""
    return token_tis(sequence(log_value, sample_ids, samples), sample_ids, samples, cap)


def token_mis(log_value: Tensor, sample_ids: Tensor, samples: int, cap: float) -> tuple[Tensor, Tensor]:
    """Masked, by token."""
    value = log_value.exp()
    is_masked = (value > cap) | (value < 1.0 / cap)
    return torch.where(is_masked, 0.0, value), is_masked


def sequence_mis(log_value: Tensor, sample_ids: Tensor, samples: int, cap: float) -> tuple[Tensor, Tensor]:
    """Masked, by sample."""
    return token_mis(sequence(log_value, sample_ids, samples), sample_ids, samples, cap)
