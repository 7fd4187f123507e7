"""The stages by name. A stage's file is imported when the stage is asked for, not before.

STAGES["sft"].config             grpo.config.sft.SftConfig
STAGES["sft"].outputs["policy"]  "policy": the path inside the stage's folder

A stage is registered by one line: here in `BUILTINS`, or in another package as an entry point of the group
`grpo.stages` (`my-stage = "my_package.my_stage:STAGE"`).
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cached_property
from typing import Any  # Any: stages have configs of different classes

from grpo.common.errors import ConfigError
from grpo.stages.stage import Stage

ENTRY_POINT_GROUP = "grpo.stages"
BUILTINS: dict[str, str] = {
    "pretrain": "grpo.stages.pretrain:STAGE",
    "rl": "grpo.stages.rl:STAGE",
    "sample": "grpo.stages.sample:STAGE",
    "curate": "grpo.stages.curate:STAGE",
    "decontaminate": "grpo.stages.decontaminate:STAGE",
    "sft": "grpo.stages.sft:STAGE",
    "distill": "grpo.stages.distill:STAGE",
    "pairs": "grpo.stages.pairs:STAGE",
    "reward-model": "grpo.stages.reward_model:STAGE",
    "eval": "grpo.stages.evaluate:STAGE",
}
"""Name → `module:object`, in the order in which the help lists them."""


class Registry(MutableMapping[str, Stage[Any]]):
    """Name → stage. Stages have configs of different classes, hence `Stage[Any]`.

    Assigning to a name registers a stage for this process alone.
    """

    def __init__(self, builtins: Mapping[str, str]) -> None:
        self._builtins = builtins
        self._loaded: dict[str, Stage[Any]] = {}

    @cached_property
    def targets(self) -> dict[str, str]:
        """Name → `module:object` of every stage that this package and installed ones offer.

        Raises:
            ConfigError: an installed package offers a stage under a name that is taken.
        """
        found = dict(self._builtins)
        for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
            if found.setdefault(point.name, point.value) != point.value:
                raise ConfigError(
                    f"two stages are called {point.name!r}: {found[point.name]} and {point.value}; rename the entry "
                    f"point of {point.dist.name if point.dist else 'the package'}"
                )
        return found

    def __getitem__(self, name: str) -> Stage[Any]:
        """Return the stage, imported now if it was not.

        Raises:
            KeyError: there is no such stage.
            ConfigError: it cannot be loaded.
        """
        if name not in self._loaded:
            self._loaded[name] = _load(name, self.targets[name])
        return self._loaded[name]

    def __setitem__(self, name: str, stage: Stage[Any]) -> None:
        self._loaded[name] = stage

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.targets, *self._loaded]))

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self.targets

    def __len__(self) -> int:
        return len(list(iter(self)))


def _load(name: str, target: str) -> Stage[Any]:
    module, _, attribute = target.partition(":")
    try:
        stage = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"stage {name} ({target}) cannot be loaded: {error}") from error
    if not isinstance(stage, Stage) or stage.name != name:
        raise ConfigError(f"stage {name}: {target} is {stage!r}, not a Stage with name={name!r}")
    return stage


STAGES = Registry(BUILTINS)
"""Every stage by the name of its command, which is also what a recipe's `stage` says."""
