"""Aggregation: the share of each completion token in the mini-batch's loss.

    sample_mean     1/(|o_i| S)     mean per sample, then over samples      DeepSeekMath (2402.03300) eq. 3
    token_mean      1/Σ|o|          mean over all tokens                    DAPO (2503.14476) eq. 8
    fixed_length    1/(S L)         sum over tokens / a constant            Dr. GRPO (2503.20783)

S and Σ|o| are those of the whole mini-batch, so that the losses of its parts add up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from grpo.algorithm.segments import sample_sums
from grpo.algorithm.types import Denominators

Aggregation = Callable[[Tensor, Tensor, int, Denominators], Tensor]
"""(ones (C,), sample_ids (C,), samples of this part, denominators of the mini-batch) → weights (C,)."""


def sample_mean(ones: Tensor, sample_ids: Tensor, samples: int, denominators: Denominators) -> Tensor:
    """(C,) 1/(|o_i| S)."""
    lengths = sample_sums(ones, sample_ids, samples)
    return torch.reciprocal(lengths[sample_ids] * denominators.samples)


def token_mean(ones: Tensor, sample_ids: Tensor, samples: int, denominators: Denominators) -> Tensor:
    """(C,) 1/Σ|o|."""
    return ones / denominators.tokens


def fixed_length(ones: Tensor, sample_ids: Tensor, samples: int, denominators: Denominators) -> Tensor:
    """(C,) 1/(S L).

    Raises:
        ValueError: the denominators have no fixed length.
    """
    if denominators.fixed_length is None:
        raise ValueError("aggregation fixed_length needs denominators.fixed_length")
    return ones / (denominators.samples * denominators.fixed_length)
