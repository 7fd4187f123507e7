"""Errors of a graph recipe as a whole: names, rows of tables, references. Pure; an error is a line of text."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from grpo.common.config_io import line_of
from grpo.common.key_hints import did_you_mean
from grpo.graph.config import NAME, GraphRecipe
from grpo.graph.references import is_broken_reference, leaves, references
from grpo.stages.registry import STAGES
from grpo.stages.stage import Tree

if TYPE_CHECKING:
    from grpo.graph.parse import Node

RESERVED = ("graph", "plan", "logs")
"""Names that no stage can have: keys of the file, and a folder of the run directory."""


def name_errors(recipe: GraphRecipe, name: str, text: str) -> Iterator[str]:
    """Yield stages with impossible names, unknown commands and unknown stages in `after`."""
    for stage, settings in recipe.stages.items():
        where = location(name, text, stage)
        if not re.match(NAME, stage) or stage in RESERVED:
            yield (
                f"{where}: a stage's name is a folder: small letters, digits and '-', a letter first; not "
                f"{' or '.join(RESERVED)}"
            )
        if settings.command not in STAGES:
            hint = did_you_mean(settings.command, list(STAGES)) or f"; there are {', '.join(STAGES)}"
            yield f"{where}: command = {settings.command!r} is no stage{hint}"
        for other in settings.after:
            if other not in recipe.stages:
                yield f"{where}: after: no stage {other!r}{did_you_mean(other, list(recipe.stages))}"


def row_errors(recipe: GraphRecipe, name: str, text: str) -> Iterator[str]:
    """Yield rows of stages that evaluate nothing, and evaluations whose figures would share a cell of a table."""
    first: dict[tuple[str, str, str], str] = {}
    for stage, settings in recipe.stages.items():
        if (row := settings.row) is None:
            continue
        if settings.command in STAGES and not STAGES[settings.command].is_evaluation:
            evaluations = ", ".join(command for command in STAGES if STAGES[command].is_evaluation)
            yield (
                f"{location(name, text, stage)}: row: only an evaluation gives one (command = {evaluations}), "
                f"not {settings.command!r}"
            )
        other = first.setdefault((row.table, row.name, row.prefix), stage)
        if other != stage:
            yield (
                f"{location(name, text, stage)}: row {row.name!r} of {row.table} is that of {other!r} already; give "
                "it another name, or a prefix of its own"
            )


def reference_errors(recipe: GraphRecipe, trees: Mapping[str, Tree], name: str, text: str) -> Iterator[str]:
    """Yield references to artefacts that no stage leaves, and names of files that look like a reference."""
    for stage, tree in trees.items():
        where = location(name, text, stage)
        patterns = [p for p in STAGES[recipe.stages[stage].command].inputs if not p.endswith(".params.*")]
        for value, key in leaves(tree):
            if any(fnmatch.fnmatchcase(key, p) for p in patterns) and is_broken_reference(value):
                yield (
                    f'{where}: {key} = {value!r} is no artefact of a stage; write "{{stage.output}}", alone or '
                    "with /path behind it"
                )
        for reference in references(tree, ""):
            if reference.stage not in recipe.stages:
                hint = did_you_mean(reference.stage, list(recipe.stages))
                yield f"{where}: {reference.key}: no stage {reference.stage!r}{hint}"
                continue
            command = recipe.stages[reference.stage].command
            if reference.output not in STAGES[command].outputs:
                yield (
                    f"{where}: {reference.key}: {reference.stage!r} ({command}) leaves no "
                    f"{reference.output!r}; it leaves {', '.join(STAGES[command].outputs)}"
                )


def location(name: str, text: str, stage: str) -> str:
    """Return file, line and stage, with which a message begins."""
    line = line_of(text, ["stages", stage])
    return f"{name}, line {line}, stage {stage}" if line else f"{name}, stage {stage}"


def component_errors(nodes: Mapping[str, Node], name: str, text: str) -> Iterator[str]:
    """Yield stages that judge samples by a reward component which the stage that makes the samples does not have."""
    for node in nodes.values():
        wanted = node.stage.reads_components(node.config)
        makers = {need.stage: nodes[need.stage] for need in node.needs if need.output == "samples"}
        for maker in makers.values() if wanted else ():
            offered = maker.stage.components(maker.config)
            if not set(wanted) & set(offered):
                hint = (
                    did_you_mean(wanted[0], offered)
                    or f"; it has {', '.join(offered) or 'none: add [[rewards]]'}"
                )
                yield (
                    f"{location(name, text, node.name)}: the samples of {maker.name!r} have no reward "
                    f"{' or '.join(map(repr, wanted))}{hint}"
                )
