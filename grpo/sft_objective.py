"""What SFT learns: the mean of −log π over the replies' tokens, as an objective of the supervised learner.

Examples are packed end to end and do not see each other (V3 §5.1: "sample masking"). An example weighs as much as it
has reply tokens, so that a batch's loss is a mean over the reply tokens of the whole batch, however it is packed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data_recipes.sft import Example
from grpo.config import LearnerConfig
from policies.logprobs import causal_lm, completion_logprobs
from policies.packing import PackedSequences, pack_documents


class SftObjective:
    """Cross-entropy of the reply tokens, in nats per token."""

    names: tuple[str, ...] = ("loss",)
    head: nn.Module | None = None

    def __init__(self, policy: nn.Module, learner: LearnerConfig, seed: int) -> None:
        self._policy: Any = policy
        self._chunk_tokens = learner.logit_chunk_tokens

    def tokens(self, item: Example) -> int:
        """Packed tokens, prompt included."""
        return len(item.token_ids)

    def weight(self, item: Example) -> float:
        """Reply tokens: the loss is a mean over tokens."""
        return float(item.target_count)

    def loss(self, items: Sequence[Example]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Sum over the reply tokens of one pack."""
        device = causal_lm(self._policy).get_input_embeddings().weight.device
        logprobs, _ = completion_logprobs(
            self._policy, pack_examples(items).to(device), chunk_tokens=self._chunk_tokens
        )
        return -logprobs.sum(), {}


def pack_examples(items: Sequence[Example]) -> PackedSequences:
    """Isolated examples of which the reply tokens alone are targets."""
    documents: list[Any] = [item.token_ids for item in items]
    packed = pack_documents(documents)
    chosen = torch.from_numpy(np.concatenate([item.is_target[1:] for item in items]))
    return replace(
        packed,
        predict_index=packed.predict_index[chosen],
        target_ids=packed.target_ids[chosen],
        sample_ids=packed.sample_ids[chosen],
    )
