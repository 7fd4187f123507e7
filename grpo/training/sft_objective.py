"""SFT's objective for the supervised learner: the mean of −log π over the tokens of the replies.

Examples are packed end to end and do not see each other (V3 §5.1: "sample masking"). The weight of an example is its
number of reply tokens, so that the loss is a mean over the reply tokens of the whole batch, however it is packed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from data_recipes.sft.examples import Example
from grpo.config.mtp import MtpConfig
from grpo.config.sections import LearnerConfig
from policies.context import divided, own_targets
from policies.logprobs import hidden_states, token_logprobs
from policies.model import causal_lm
from policies.mtp import mtp_layers, mtp_logprobs
from policies.packing import PackedSequences, TokenIds, pack_documents
from policies.shards import whole

UNTRAINED = MtpConfig(weight=0.0)


class SftObjective:
    """Cross-entropy of the reply tokens, nats per token; optionally also of multi-token prediction."""

    head: nn.Module | None = None

    def __init__(
        self, policy: nn.Module, learner: LearnerConfig, seed: int, mtp: MtpConfig = UNTRAINED
    ) -> None:
        """Unfreeze the layers of multi-token prediction if they have a weight.

        Args:
            policy: of `load_policy`.
            learner: the recipe's [learner].
            seed: unused, part of `ObjectiveFactory`; nothing here is random.
            mtp: λ of V3 eq. 25; 0 leaves those layers as they are.
        """
        self._policy = policy
        self._chunk_tokens = learner.logit_chunk_tokens
        self._mtp, self._mtp_layers = mtp, mtp_layers(policy) if mtp.trains else []
        self._mtp_weight = mtp.weight
        for layer in self._mtp_layers:
            layer.requires_grad_(True)
        self.names: tuple[str, ...] = ("loss", "loss/next", "loss/mtp") if self._mtp_layers else ("loss",)

    def tokens(self, item: Example) -> int:
        """Count an example's packed tokens, prompt included."""
        return len(item.token_ids)

    def weight(self, item: Example) -> float:
        """Count an example's reply tokens: the loss is a mean over them."""
        return float(item.target_count)

    def begin(self, step: int, total_steps: int) -> None:
        """Set λ for the update."""
        self._mtp_weight = self._mtp.weight_at(step, total_steps)

    def loss(self, items: Sequence[Example]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Sum over the reply tokens of one pack: L + λ/D Σ_k Lᵏ (V3 eq. 24, 25).

        The caller divides every sum by the reply tokens of the batch, as printed, although Lᵏ has no term for the first
        k tokens of a sequence.

        Returns:
            0-d sum of the losses, nats; with multi-token prediction also its parts "loss/next" and "loss/mtp".
        """
        base = causal_lm(self._policy)
        packed = pack_examples(items).to(base.get_input_embeddings().weight.device)
        packed = divided(self._policy, packed)
        own = own_targets(packed, packed.predict_index)
        states = hidden_states(self._policy, packed)
        logprobs, _ = token_logprobs(
            states.index_select(0, own.rows),
            whole(base.get_output_embeddings().weight),
            own.of(packed.target_ids),
            chunk_tokens=self._chunk_tokens,
        )
        following = -own.joined(logprobs).sum()
        if not self._mtp_layers:
            return following, {}
        depths = mtp_logprobs(self._policy, packed, states, chunk_tokens=self._chunk_tokens)
        ahead = -torch.stack([values.sum() for values in depths]).mean()
        return following + self._mtp_weight * ahead, {"loss/next": following, "loss/mtp": ahead}


def pack_examples(items: Sequence[Example]) -> PackedSequences:
    """Pack examples that do not see each other; only their reply tokens are targets."""
    documents: list[TokenIds] = [item.token_ids for item in items]
    packed = pack_documents(documents)
    chosen = torch.from_numpy(np.concatenate([item.is_target[1:] for item in items]))
    return replace(
        packed,
        predict_index=packed.predict_index[chosen],
        target_ids=packed.target_ids[chosen],
        sample_ids=packed.sample_ids[chosen],
    )
