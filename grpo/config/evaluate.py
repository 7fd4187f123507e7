"""`grpo eval`: the config. Sections of `grpo rl` without what only training reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from grpo.common.config_io import check, find_recipe, parse_override, read_toml, refuse_graph, set_key
from grpo.common.errors import ConfigError
from grpo.config.sample import refuse_start_steps, refuse_training_keys
from grpo.config.sections import EvalConfig, PolicyConfig, SamplingConfig
from policies.settings import Settings
from rewards.config import RewardConfig
from rollout.config import EngineConfig


class EvalStageConfig(Settings):
    """`grpo eval`."""

    stage: Literal["eval"] = "eval"
    seed: int = 0
    run_dir: Path
    """Where eval.jsonl, the samples and summary.json go."""
    policy: PolicyConfig
    rewards: tuple[RewardConfig, ...] = Field(min_length=1)
    reward_workers: int = Field(1, ge=1)
    """Processes of each row-wise reward that runs in processes: so many rows are scored at one time."""
    sampling: SamplingConfig = SamplingConfig()
    """Read for stop_tokens, and for max_tokens where eval.max_tokens is not given."""
    engine: EngineConfig = EngineConfig()
    eval: EvalConfig

    @model_validator(mode="after")
    def _has_data(self) -> EvalStageConfig:
        if self.eval.data is None:
            raise ValueError("an evaluation needs data: add a section [eval.data]")
        return self

    @model_validator(mode="after")
    def _nothing_of_training(self) -> EvalStageConfig:
        refuse_training_keys(self.policy)
        refuse_start_steps(self.rewards)
        if self.eval.every_steps:
            raise ValueError("eval.every_steps is read in training only; leave it out")
        return self


def as_eval(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree of an RL recipe as that of an evaluation: what only training reads is left out.

    So is `start_step` of its rewards: an evaluation has no steps, and asks each of them.
    """
    if tree.get("stage") != "rl":
        return tree
    kept = {key: value for key, value in tree.items() if key in EvalStageConfig.model_fields}
    for section, unread in (("policy", ("lora", "router_bias_rate")), ("eval", ("every_steps",))):
        if isinstance(kept.get(section), dict):
            kept[section] = {key: value for key, value in kept[section].items() if key not in unread}
    if isinstance(kept.get("rewards"), list):
        kept["rewards"] = [
            {key: value for key, value in reward.items() if key != "start_step"}
            if isinstance(reward, dict)
            else reward
            for reward in kept["rewards"]
        ]
    return kept | {"stage": "eval"}


def load_eval_config(recipe: str, overrides: Sequence[str]) -> EvalStageConfig:
    """Read an evaluation's recipe, or an RL recipe whose `[eval]` section says what to do.

    Raises:
        ConfigError: names file, line, key path, the value found and the mend.
    """
    name, text = find_recipe(recipe)
    tree = read_toml(name, text)
    refuse_graph(name, tree)
    if tree.get("stage") == "rl":
        tree.pop("run_dir", None)  # the training's own; an evaluation is told another
    set_from = {}
    for override in overrides:
        key, value = parse_override(override)
        set_key(tree, key, value)
        set_from[".".join(key)] = override
    if tree.get("stage") == "rl" and "run_dir" not in tree:
        raise ConfigError(
            f"{name}: where to? Add --out FOLDER; run_dir of an `rl` recipe is the training's own"
        )
    return check(EvalStageConfig, as_eval(tree), name, text, set_from)
