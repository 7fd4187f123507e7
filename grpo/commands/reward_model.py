"""`grpo reward-model` and `grpo pairs`."""

from __future__ import annotations

from grpo.commands.options import Address, Model, Recipe, Set, overrides


def reward_model(recipe: Recipe, set_: Set = None, model: Model = None, address: Address = None) -> None:
    """Train a reward model on pairs or labelled responses. Run it again to resume where it stopped."""
    from grpo.common.config_io import load_config
    from grpo.config.reward_model import RewardModelConfig

    config = load_config(RewardModelConfig, recipe, overrides(set_, model=model))
    from grpo.stages.reward_model import run

    run(config, address)


def pairs(recipe: Recipe, set_: Set = None) -> None:
    """Judge sampled completions against each other and write preference pairs."""
    from grpo.common.config_io import load_config
    from grpo.config.pairs import PairsConfig

    config = load_config(PairsConfig, recipe, set_ or [])
    from grpo.stages.pairs import run

    run(config)
