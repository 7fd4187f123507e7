"""`grpo sft` and `grpo distill`."""

from __future__ import annotations

from grpo.commands.options import Address, Model, Recipe, Set, overrides


def sft(recipe: Recipe, set_: Set = None, model: Model = None, address: Address = None) -> None:
    """Supervised fine-tuning on replies, chats or distilled traces. Run it again to resume where it stopped."""
    from grpo.common.config_io import load_config
    from grpo.config.sft import SftConfig

    config = load_config(SftConfig, recipe, overrides(set_, model=model))
    from grpo.stages.sft import run

    run(config, address)


def distill(recipe: Recipe, set_: Set = None, model: Model = None, address: Address = None) -> None:
    """SFT of a student on a teacher's rows, at the rate that R1's paper prints for its size. Resumes."""
    from grpo.common.config_io import load_config
    from grpo.config.distill import DistillConfig

    config = load_config(DistillConfig, recipe, overrides(set_, model=model))
    from grpo.stages.distill import run

    run(config, address)
