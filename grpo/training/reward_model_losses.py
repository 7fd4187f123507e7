"""Losses of reward models, summed over their items, as pure functions.

pairwise(r_c, r_r) = −log σ(r_c − r_r)         Bradley–Terry
pointwise(z, y)    = −y log σ(z) − (1−y) log σ(−z)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def pairwise(chosen_N: Tensor, rejected_N: Tensor) -> Tensor:
    """0-d sum over N pairs; r_c and r_r are (N,) rewards."""
    return -logsigmoid(chosen_N - rejected_N).sum()


def pointwise(logits_N: Tensor, labels_N: Tensor) -> Tensor:
    """0-d sum over N responses; z are (N,) logits, y (N,) labels 0 or 1."""
    return -logsigmoid((2 * labels_N - 1) * logits_N).sum()
