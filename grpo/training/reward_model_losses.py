"""Losses of reward models, summed over their items. Maths alone.

pairwise(r_c, r_r) = −log σ(r_c − r_r)         Bradley–Terry
pointwise(z, y)    = −y log σ(z) − (1−y) log σ(−z)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def pairwise(chosen_N: Tensor, rejected_N: Tensor) -> Tensor:
    """Scalar: Σ over N pairs."""
    return -logsigmoid(chosen_N - rejected_N).sum()


def pointwise(logits_N: Tensor, labels_N: Tensor) -> Tensor:
    """Scalar: Σ over N responses; labels are 0 or 1."""
    return -logsigmoid((2 * labels_N - 1) * logits_N).sum()
