"""Computes a scalar for a whole sequence: a linear head on the hidden state of its last token.

    head = scalar_head(hidden_size=64, seed=1)
    values = sequence_values(model, head, [[5, 6, 7], [8, 9]])      (N,) float32, differentiable

Reward models are built like this (R1 §B.2: the policy's architecture with a scalar reward head). Sequences are packed
and do not see each other. Axes: N sequences, T packed tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from policies.context import divided, own_targets
from policies.logprobs import hidden_states
from policies.model import causal_lm
from policies.packing import pack_documents


def scalar_head(hidden_size: int, seed: int) -> nn.Linear:
    """Return a float32 head D → 1: weights normal with std 1/√(D+1) from `seed` alone, bias 0."""
    head = nn.Linear(hidden_size, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, (hidden_size + 1) ** -0.5, generator=generator)
        head.bias.zero_()
    return head


def sequence_values(
    model: nn.Module, head: nn.Linear, documents: Sequence[Sequence[int] | np.ndarray]
) -> Tensor:
    """Return (N,) float32 values of the head on each document's last token, in one packed forward.

    Args:
        model: a policy of `load_policy`.
        head: the scalar head, on the model's device.
        documents: token ids, as sequences or (L,) arrays, none empty.

    Raises:
        ValueError: there is no document, or an empty one.
    """
    device = causal_lm(model).get_input_embeddings().weight.device
    packed = divided(model, pack_documents(documents).to(device))
    own = own_targets(packed, torch.from_numpy(np.cumsum([len(d) for d in documents]) - 1).to(device))
    states = hidden_states(model, packed).index_select(0, own.rows)
    # The loss takes differences of values, so they are float32 whatever dtype the policy computes in.
    with torch.autocast(device.type, enabled=False):
        values: Tensor = head(states.float())
        return own.joined(values[:, 0])
