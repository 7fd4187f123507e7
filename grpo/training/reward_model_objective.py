"""Objectives of reward models for the supervised learner (grpo/training/supervised_learner.py).

An item is one pair, or one labelled response. Every item has weight 1, so that batch metrics are means over items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from grpo.config.sections import LearnerConfig
from grpo.training.reward_model_data import Labelled, Pair
from grpo.training.reward_model_losses import pairwise, pointwise
from policies.model import HfConfig
from policies.value_head import scalar_head, sequence_values


class PairwiseObjective:
    """Bradley–Terry loss on pairs; "accuracy" is the share of pairs ranked right, "margin" the mean of r_c − r_r."""

    names: tuple[str, ...] = ("loss", "accuracy", "margin")

    def __init__(self, policy: nn.Module, learner: LearnerConfig, seed: int) -> None:
        self._policy = policy
        self._values = _head(policy, seed)
        self.head: nn.Module | None = self._values

    def tokens(self, item: Pair) -> int:
        """Count the packed tokens of both sides."""
        return len(item.chosen) + len(item.rejected)

    def weight(self, item: Pair) -> float:
        """Return 1: the loss is a mean over pairs."""
        return 1.0

    def begin(self, step: int, total_steps: int) -> None:
        """Nothing changes in the course of a run."""

    def loss(self, items: Sequence[Pair]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Sum loss, ranked-right pairs and margins over the pairs of one pack."""
        documents = [side for item in items for side in (item.chosen, item.rejected)]
        chosen, rejected = sequence_values(self._policy, self._values, documents).view(-1, 2).unbind(1)
        margin = (chosen - rejected).detach()
        return pairwise(chosen, rejected), {"accuracy": (margin > 0).sum(), "margin": margin.sum()}


class PointwiseObjective:
    """Binary cross-entropy on labelled responses; "accuracy" is the share on the right side of probability one half."""

    names: tuple[str, ...] = ("loss", "accuracy")

    def __init__(self, policy: nn.Module, learner: LearnerConfig, seed: int) -> None:
        self._policy = policy
        self._values = _head(policy, seed)
        self.head: nn.Module | None = self._values

    def tokens(self, item: Labelled) -> int:
        """Count the packed tokens."""
        return len(item.token_ids)

    def weight(self, item: Labelled) -> float:
        """Return 1: the loss is a mean over responses."""
        return 1.0

    def begin(self, step: int, total_steps: int) -> None:
        """Nothing changes in the course of a run."""

    def loss(self, items: Sequence[Labelled]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Sum loss and right responses over the responses of one pack."""
        logits = sequence_values(self._policy, self._values, [item.token_ids for item in items])
        labels = torch.tensor([item.label for item in items], device=logits.device, dtype=logits.dtype)
        return pointwise(logits, labels), {"accuracy": ((logits > 0) == (labels > 0.5)).sum().detach()}


def _head(policy: nn.Module, seed: int) -> nn.Linear:
    config: HfConfig = policy.config  # of transformers, whose attributes have no types
    return scalar_head(config.hidden_size, seed)
