"""`grpo sample`."""

from __future__ import annotations

from grpo.commands.options import Address, Model, Recipe, Set, overrides


def sample(recipe: Recipe, set_: Set = None, model: Model = None, address: Address = None) -> None:
    """Sample completions of many prompts, scored, into a Parquet. Run it again to go on where it stopped."""
    from grpo.common.config_io import load_config
    from grpo.config.sample import SampleConfig

    config = load_config(SampleConfig, recipe, overrides(set_, model=model))
    from grpo.stages.sample import run

    run(config, address)
