"""The level at which π_θ/π_old is taken, on flat completion tokens.

    token       π_θ/π_old of the token                         DeepSeekMath (2402.03300) eq. 3
    sequence    product over the sample's tokens               R1 (2501.12948) eq. 1, V3 (2412.19437) eq. 26
    gspo        the product to the power 1/length              GSPO (2507.18071) eq. 7

Each maps the tokens' log-ratios, (C,), to those of the chosen level, (C,): every token carries its sample's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grpo.algorithm.segments import sample_sums

Ratio = Callable[[Tensor, Tensor, int], Tensor]
"""(log-ratios (C,), sample_ids (C,), S) → log-ratios (C,)."""


def token(log_ratio: Tensor, sample_ids: Tensor, samples: int) -> Tensor:
    """(C,) as they are."""
    return log_ratio


def sequence(log_ratio: Tensor, sample_ids: Tensor, samples: int) -> Tensor:
    """(C,) sum over the sample's tokens."""
    return sample_sums(log_ratio, sample_ids, samples)[sample_ids]


def gspo(log_ratio: Tensor, sample_ids: Tensor, samples: int) -> Tensor:
    """(C,) mean over the sample's tokens."""
    sums = sample_sums(log_ratio, sample_ids, samples)
    # A sample without tokens has sum 0; its count must not divide by 0.
    lengths = sample_sums(torch.ones_like(log_ratio), sample_ids, samples).clamp(min=1)
    return (sums / lengths)[sample_ids]
