"""A graph recipe as TOML has it. Imports pydantic alone; grpo/graph/parse.py makes nodes of it.

[graph]
run_dir = "runs/r1-tiny"
seed = 1

[stages.zero]
command = "rl"
recipe = "r1-zero-tiny"
gate = { metric = "final_pass1", at_least = 0.4 }
[stages.zero.set]
"policy.model" = "{base.policy}"
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from grpo.config.plan import PlanConfig, StagePlan
from policies.json_types import JsonDict
from policies.settings import Identity, Operational, Settings

NAME = r"^[a-z][a-z0-9-]*$"


class GraphSettings(Settings):
    """The settings that all stages share."""

    run_dir: Operational[Path]
    """The folder of the whole graph; each stage gets a folder of its own name in it."""
    seed: Identity[int] = Field(0, ge=0)
    """The seed of every stage that does not set its own; "{seed}" as a value in a stage's `set` stands for it too."""
    columns: Operational[dict[str, str]] = Field(default_factory=dict)
    """Further columns of the tables: name in summary.json = path in the evaluation's summary, e.g.
    general = "by_kind.general.judge"."""

    @field_validator("columns")
    @classmethod
    def _free_names(cls, value: dict[str, str]) -> dict[str, str]:
        if "stage" in value:
            raise ValueError('"stage" is the name of a row; rename the column')
        return value


class Gate(Settings):
    """Stages that need this one run only if a figure of it is within bounds."""

    metric: Operational[str] = Field(min_length=1)
    """Path in the stage's summary, e.g. "pass1"; "eval.pass1" comes from the last evaluation of an RL stage."""
    at_least: Operational[float | None] = None
    """Lower bound of the figure."""
    at_most: Operational[float | None] = None
    """Upper bound of the figure."""

    @model_validator(mode="after")
    def _some_bound(self) -> Gate:
        if self.at_least is None and self.at_most is None:
            raise ValueError("a gate needs at_least or at_most")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least = {self.at_least:g} is above at_most = {self.at_most:g}")
        return self


class Row(Settings):
    """The row of the tables that an evaluation fills. Evaluations with the same name share a row."""

    table: Operational[Literal["stages", "students"]]
    """The table: of the stages, or of the distilled students."""
    name: Operational[str] = Field(min_length=1)
    """Name of the row."""
    prefix: Operational[str] = ""
    """Written before the column names, with a point, e.g. "AIME": for several benchmarks in one row."""


class StageSettings(Settings, paths=("recipe",)):
    """One stage of the graph."""

    command: Identity[str]
    """The name of a stage, as in `grpo <command>`; grpo/stages/registry.py lists them."""
    recipe: Identity[str | None] = None
    """A recipe of that command, shipped or a file; `set` overrides its keys."""
    set: Identity[JsonDict] = Field(default_factory=dict)
    """Config keys, dotted or as tables. "{stage.output}" at the start of a string is an artefact of another stage."""
    after: Identity[tuple[str, ...]] = Field(default=())
    """Stages that must be done first, besides those whose artefacts are named."""
    gate: Gate | None = None
    """A figure that must be within bounds before stages that need this one run."""
    row: Row | None = None
    """The row of the tables that an evaluation fills."""
    plan: StagePlan = StagePlan()
    """What `grpo plan` cannot read from the config."""


class GraphRecipe(Settings):
    """A whole graph recipe."""

    graph: GraphSettings
    plan: PlanConfig = PlanConfig()
    """The machine that `grpo plan` estimates for."""
    stages: dict[str, StageSettings] = Field(min_length=1)
    """The stages by name; a stage that names an artefact of another runs after it."""
