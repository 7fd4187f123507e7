"""Procedural sources: their names (`source`), their settings (`params`) and the modules that generate their rows.

    [data]
    source = "r1-world"
    split = "held-out"
    params = { math = 256, max_ops = 5 }

A source is a module with `rows(seed, split, params)`, which yields (location, row). It raises ValueError if `params`
ask for more rows than exist, and names the key to lower. This module holds the pydantic models only; a source's module
is imported when its rows are read.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field, model_validator

from policies.json_types import JsonDict
from policies.settings import Identity, Settings

Split = Literal["train", "held-out"]
PROCEDURAL_SPLITS = get_args(Split)


class ChainParams(Settings):
    """`params` of source "chain" (data_recipes/worlds/chain/problems.py)."""

    min_ops: Identity[int] = Field(2, ge=2)
    """Operations of the shortest chain."""
    max_ops: Identity[int] = Field(4, ge=2, le=12)
    """Operations of the longest chain."""
    count: Identity[int] = Field(4096, ge=1)
    """Distinct problems, spread evenly over the lengths."""

    @model_validator(mode="after")
    def _ordered(self) -> ChainParams:
        if self.min_ops > self.max_ops:
            raise ValueError(f"min_ops = {self.min_ops} is above max_ops = {self.max_ops}")
        return self


class R1WorldParams(Settings):
    """`params` of source "r1-world" (data_recipes/worlds/r1/requests.py): the number of prompts of each kind."""

    math: Identity[int] = Field(0, ge=0)
    """Distinct chains of operations, spread evenly over lengths and languages."""
    general: Identity[int] = Field(0, ge=0)
    """Requests for a list, a shorter wording or a way to do something."""
    safety: Identity[int] = Field(0, ge=0)
    """Requests that must be refused."""
    min_ops: Identity[int] = Field(2, ge=2)
    """Operations of the shortest chain."""
    max_ops: Identity[int] = Field(4, ge=2, le=12)
    """Operations of the longest chain."""
    languages: Identity[tuple[Literal["en", "zh"], ...]] = Field(("en", "zh"), min_length=1)
    """Languages of the prompts."""

    @model_validator(mode="after")
    def _something(self) -> R1WorldParams:
        if self.min_ops > self.max_ops:
            raise ValueError(f"min_ops = {self.min_ops} is above max_ops = {self.max_ops}")
        if not self.math + self.general + self.safety:
            raise ValueError("asks for nothing; give math, general or safety a count")
        return self


class CodeTinyParams(Settings):
    """`params` of source "code-tiny" (data_recipes/worlds/code_tiny/problems.py)."""

    count: Identity[int] = Field(348, ge=1)
    """Distinct problems, spread evenly over the lengths."""
    min_steps: Identity[int] = Field(2, ge=1)
    """Fewest steps before the return."""
    max_steps: Identity[int] = Field(4, ge=1, le=6)
    """Most steps before the return."""

    @model_validator(mode="after")
    def _ordered(self) -> CodeTinyParams:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps = {self.min_steps} is above max_steps = {self.max_steps}")
        return self


class PlainEnglishParams(Settings):
    """`params` of source "plain-english" (data_recipes/worlds/plain_english/problems.py): prompts of each kind."""

    math: Identity[int] = Field(0, ge=0)
    """Word problems."""
    general: Identity[int] = Field(0, ge=0)
    """Requests for a list of things."""
    max_steps: Identity[int] = Field(2, ge=1, le=4)
    """Most sums of a word problem."""
    largest: Identity[int] = Field(20, ge=4, le=1000)
    """Largest number in a word problem."""

    @model_validator(mode="after")
    def _something(self) -> PlainEnglishParams:
        if not self.math + self.general:
            raise ValueError("asks for nothing; give math or general a count")
        return self


@dataclass(frozen=True)
class ProceduralSource:
    """The module of a procedural source and the model of its `params`."""

    module: str
    params: type[Settings]

    def rows(self, seed: int, split: str, params: JsonDict) -> Iterator[tuple[str, JsonDict]]:
        """Yield (location, row) of a split."""
        yield from importlib.import_module(self.module).rows(seed, split, self.params.model_validate(params))


PROCEDURAL: dict[str, ProceduralSource] = {
    "chain": ProceduralSource("data_recipes.worlds.chain.problems", ChainParams),
    "r1-world": ProceduralSource("data_recipes.worlds.r1.requests", R1WorldParams),
    "plain-english": ProceduralSource("data_recipes.worlds.plain_english.problems", PlainEnglishParams),
    "code-tiny": ProceduralSource("data_recipes.worlds.code_tiny.problems", CodeTinyParams),
}
"""Sources by name. These names are never looked up on the hub."""
