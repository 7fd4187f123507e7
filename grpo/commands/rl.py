"""`grpo rl`, `grpo eval` and `grpo pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grpo.commands.options import Address, Model, Recipe, Set, overrides


def rl(recipe: Recipe, set_: Set = None, model: Model = None, address: Address = None) -> None:
    """Reinforcement learning by GRPO. Run it again to resume where it stopped."""
    from grpo.common.config_io import load_config
    from grpo.config.rl import RlConfig

    config = load_config(RlConfig, recipe, overrides(set_, model=model))
    from grpo.stages.rl import run

    run(config, address)


def evaluate(
    recipe: Recipe,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result; default: run_dir of a recipe for `eval`.")
    ] = None,
    set_: Set = None,
    model: Model = None,
    samples: Annotated[int | None, typer.Option(help="k; same as `--set eval.samples=…`.")] = None,
    address: Address = None,
) -> None:
    """Held-out pass@1 over k samples, pass@k and cons@k of a model, with the recipe's `[eval]` data and rewards."""
    from grpo.config.evaluate import load_eval_config

    pairs = overrides(set_, model=model, run_dir=out)
    if samples is not None:
        pairs.append(f"eval.samples={samples}")
    config = load_eval_config(recipe, pairs)
    from grpo.stages.evaluate import run

    run(config, address)


def pretrain(recipe: Recipe, set_: Set = None) -> None:
    """Pre-train a tiny base policy on the procedural corpus. Run it again to resume."""
    from grpo.common.config_io import load_config
    from grpo.config.pretrain import PretrainConfig

    config = load_config(PretrainConfig, recipe, set_ or [])
    from grpo.pretrain.trainer import run

    run(config)
