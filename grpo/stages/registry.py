"""The stages by the name of their command: config class, runner, what is read and what is left. Imports no stage.

STAGES["sft"].outputs["policy"]      "policy": the path inside the stage's folder
STAGES["sft"].load_config_class()    grpo.config.sft.SftConfig
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

_POLICY = {"policy": "policy", "summary": "summary.json"}
_REWARDS = ("rewards.*.name", "rewards.*.params.*")


@dataclass(frozen=True)
class StageCommand:
    """One stage."""

    config: str
    """`module:class` of its config."""
    runner: str
    """`module:function`: (config, address) where `takes_address`, else (config)."""
    outputs: Mapping[str, str]
    """Name → path in the stage's folder."""
    inputs: tuple[str, ...]
    """Key paths (`*` for any one part) whose value may name a file or folder: its content is part of what the stage
    is."""
    summary: str = "summary.json"
    """Where the stage's figures are."""
    place: Literal["run_dir", "out"] = "run_dir"
    """The key that says where it writes."""
    main_output: str = "policy"
    """The output that `place` = "out" names; for the others, what the stage is for."""
    takes_address: bool = True
    """True if it runs on Ray."""

    def load_config_class(self) -> type[BaseModel]:
        """The class, imported now; loads pydantic alone."""
        return _load(self.config)

    def load_runner(self) -> Any:
        """The function, imported now; loads what the stage needs."""
        return _load(self.runner)


STAGES: dict[str, StageCommand] = {
    "pretrain": StageCommand(
        "grpo.config.pretrain:PretrainConfig", "grpo.pretrain.trainer:run", _POLICY, (), takes_address=False
    ),
    "rl": StageCommand(
        "grpo.config.rl:RlConfig",
        "grpo.stages.rl:run",
        _POLICY,
        ("policy.model", "data.source", "mix.*.source", "eval.data.source", "audit.verifier", *_REWARDS),
    ),
    "sample": StageCommand(
        "grpo.config.sample:SampleConfig",
        "grpo.stages.sample:run",
        {"samples": "samples.parquet", "summary": "summary.json"},
        ("policy.model", "data.source", "mix.*.source", *_REWARDS),
        main_output="samples",
    ),
    "curate": StageCommand(
        "grpo.config.curate:CurateConfig",
        "grpo.stages.curate:run",
        {"rows": "rows.parquet", "summary": "rows.json"},
        ("sources.*", "mix.*.source", "decontaminate.*.source", "rewrite"),
        summary="rows.json",
        place="out",
        main_output="rows",
        takes_address=False,
    ),
    "sft": StageCommand(
        "grpo.config.sft:SftConfig",
        "grpo.stages.sft:run",
        _POLICY,
        ("policy.model", "data.source", "mix.*.source"),
    ),
    "distill": StageCommand(
        "grpo.config.distill:DistillConfig",
        "grpo.stages.distill:run",
        _POLICY,
        ("policy.model", "data.source", "mix.*.source"),
    ),
    "pairs": StageCommand(
        "grpo.config.pairs:PairsConfig",
        "grpo.stages.pairs:run",
        {"pairs": "pairs.parquet", "summary": "pairs.json"},
        ("source", "judge.name", "judge.params.*"),
        summary="pairs.json",
        place="out",
        main_output="pairs",
        takes_address=False,
    ),
    "reward-model": StageCommand(
        "grpo.config.reward_model:RewardModelConfig",
        "grpo.stages.reward_model:run",
        _POLICY,
        ("policy.model", "data.source"),
    ),
    "eval": StageCommand(
        "grpo.config.evaluate:EvalStageConfig",
        "grpo.stages.evaluate:run",
        {"summary": "summary.json"},
        ("policy.model", "eval.data.source", *_REWARDS),
        main_output="summary",
    ),
}
"""By the command's name, which is also what a recipe's `stage` says."""


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
