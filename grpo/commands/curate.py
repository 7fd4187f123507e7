"""`grpo curate`."""

from __future__ import annotations

from grpo.commands.options import Recipe, Set


def curate(recipe: Recipe, set_: Set = None) -> None:
    """Keep the correct, readable samples, rewrite them and write a Parquet for SFT."""
    from grpo.common.config_io import load_config
    from grpo.config.curate import CurateConfig

    config = load_config(CurateConfig, recipe, set_ or [])
    from grpo.stages.curate import run

    run(config)
