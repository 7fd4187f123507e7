"""Layers of multi-token prediction that follow the policy in RL: trained alone, on the completions that it sampled.

    follower = MtpFollower(model, chunk_tokens=512)         unfreezes the layers
    loss = follower.loss(groups, packed, states, tokens)    of one pack; gradient for the layers alone

The states are those of the policy's own forward, so that nothing is computed twice and the policy's gradient keeps its
bits. A prompt stands once in that pack, but a layer that reads tokens ahead sees another token behind it for every
completion; so each completion is laid out with its prompt, and the states are copied there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from grpo.algorithm.types import TrainGroup
from policies.context import divided, gather_tokens, own_tokens
from policies.mtp import mtp_layers, mtp_logprobs
from policies.packing import PackedSequences, TokenIds, pack_documents


class MtpFollower:
    """Trains a policy's layers of multi-token prediction beside it."""

    def __init__(self, model: nn.Module, *, chunk_tokens: int) -> None:
        """Unfreeze the layers.

        Args:
            model: a policy with such layers.
            chunk_tokens: rows of logits that exist at one time.
        """
        self._model, self._chunk_tokens = model, chunk_tokens
        for layer in mtp_layers(model):
            layer.requires_grad_(True)

    def loss(
        self, groups: Sequence[TrainGroup], packed: PackedSequences, states_TD: Tensor, total_tokens: int
    ) -> Tensor:
        """Return −1/D Σ_k Σ log Pᵏ of the completions' tokens over `total_tokens`, 0-d, nats (V3 eq. 24).

        Args:
            groups: of one pack, in its order.
            packed: the groups as the policy computed them, with shared prompts.
            states_TD: the policy's hidden states of `packed`; where ranks divide its tokens, this rank's.
            total_tokens: completion tokens of the whole batch.
        """
        alone, index = unshared(groups)
        device = states_TD.device
        alone, index = divided(self._model, alone.to(device)), index.to(device)
        share = packed.layout.share
        states = states_TD if share is None else gather_tokens((states_TD.detach(),), share)[0]
        depths = mtp_logprobs(
            self._model,
            alone,
            states.index_select(0, own_tokens(alone, index)),
            chunk_tokens=self._chunk_tokens,
            layers_alone=True,
        )
        return -torch.stack([values.sum() for values in depths]).mean() / total_tokens


def unshared(groups: Sequence[TrainGroup]) -> tuple[PackedSequences, Tensor]:
    """Lay out every completion behind a copy of its prompt; targets are the completions' tokens.

    Returns:
        The pack, and (T',) int64: where each of its tokens stands in the pack that shares prompts.
    """
    documents: list[TokenIds] = []
    places: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    start = 0
    for group in groups:
        prompt = len(group.prompt_ids)
        at = start + prompt
        for sample in group.samples:
            size = len(sample.token_ids)
            documents.append(np.concatenate([group.prompt_ids, sample.token_ids]))
            places += [np.arange(start, start + prompt), np.arange(at, at + size)]
            targets.append(np.arange(1, prompt + size) >= prompt)
            at += size
        start = at
    packed = pack_documents(documents)
    chosen = torch.from_numpy(np.concatenate(targets))
    packed = replace(
        packed,
        predict_index=packed.predict_index[chosen],
        target_ids=packed.target_ids[chosen],
        sample_ids=packed.sample_ids[chosen],
    )
    return packed, torch.from_numpy(np.concatenate(places))
