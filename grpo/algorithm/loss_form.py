"""From a recipe's [algorithm] to the functions of its loss: grpo/algorithm/losses.py itself loads nothing."""

from __future__ import annotations

from grpo.algorithm.losses import LossForm
from grpo.algorithm.registry import load_named
from grpo.config.algorithm import AlgorithmConfig


def loss_form(config: AlgorithmConfig) -> LossForm:
    """Import the functions that a recipe names.

    Raises:
        ConfigError: one cannot be loaded; names the key.
    """
    return LossForm(
        config=config,
        ratio=load_named(config, "ratio"),
        policy_loss=load_named(config, "policy_loss"),
        aggregation=load_named(config, "aggregation"),
        kl_estimator=load_named(config, "kl_estimator"),
        importance=load_named(config, "importance"),
    )
