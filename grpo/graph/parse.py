"""A graph recipe → nodes with checked configs, in the order in which they run. Loads no model and no data.

    graph = load_graph("r1-tiny", ["zero.steps=10", "graph.seed=2"])
    graph.nodes["zero"].config          an RlConfig; references are the paths where the artefacts will be

Every error of the recipe and of every stage's config is found here, and all are reported at once.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # Any: stages have configs of different classes

from pydantic import BaseModel

from grpo.common.config_io import check, find_recipe, parse_override, read_toml, set_key
from grpo.common.errors import ConfigError
from grpo.common.key_hints import did_you_mean
from grpo.common.recipe_paths import beside, inputs_beside, recipe_file
from grpo.graph.config import GraphRecipe, StageSettings
from grpo.graph.errors import component_errors, location, name_errors, reference_errors, row_errors
from grpo.graph.references import Reference, fill, flatten, references
from grpo.stages.registry import STAGES
from grpo.stages.stage import Stage, Tree
from policies.json_types import JsonDict


@dataclass(frozen=True)
class Node:
    """One stage of a graph, ready to run."""

    name: str
    command: str
    stage: Stage[Any]
    """Any: stages have configs of different classes; `config` is of this one's."""
    config: BaseModel
    folder: Path
    needs: tuple[Reference, ...]
    """The artefacts of other stages that its config names."""
    settings: StageSettings
    """Its section of the recipe: gate, row, after, plan."""

    @property
    def parents(self) -> tuple[str, ...]:
        """The stages that must be done first, each once."""
        return tuple(dict.fromkeys([*(r.stage for r in self.needs), *self.settings.after]))

    def output(self, name: str) -> Path:
        """Return the path where an artefact is or will be."""
        return self.folder / self.stage.outputs[name]


@dataclass(frozen=True)
class Graph:
    """A checked recipe."""

    name: str
    run_dir: Path
    seed: int
    nodes: Mapping[str, Node]
    """Parents first; among equals in the order of the file."""
    recipe: GraphRecipe

    def ancestors(self, name: str) -> set[str]:
        """Return the stage and all that it needs."""
        found = {name}
        for node in reversed(list(self.nodes.values())):
            if node.name in found:
                found.update(node.parents)
        return found

    def descendants(self, name: str) -> set[str]:
        """Return the stage and all that need it."""
        found = {name}
        for node in self.nodes.values():
            if found.intersection(node.parents):
                found.add(node.name)
        return found


def load_graph(recipe: str, overrides: Sequence[str] = ()) -> Graph:
    """Read and check a graph recipe and the config of every stage.

    Args:
        recipe: TOML file or shipped name.
        overrides: "stage.key=value", "graph.key=value" or "stage.gate.at_least=value" each.

    Raises:
        ConfigError: every error with file, stage, key and fix.
    """
    name, text = find_recipe(recipe)
    tree = read_toml(name, text)
    if "graph" not in tree or not isinstance(tree.get("stages"), dict):
        command = f"; it is a recipe of `grpo {tree['stage']}`" if "stage" in tree else ""
        raise ConfigError(f"{name}: not a graph: it has no sections [graph] and [stages.…]{command}")
    later = _override(tree, overrides, name, text)
    checked = check(GraphRecipe, tree, name, text)
    errors = [*name_errors(checked, name, text), *row_errors(checked, name, text)]
    if errors:
        raise ConfigError("\n".join(errors))
    trees: dict[str, Tree] = {}
    origins: dict[str, _Origin] = {}
    for stage in checked.stages:
        try:
            trees[stage], origins[stage] = _tree(
                stage, checked, later.get(stage, []), location(name, text, stage), recipe_file(name)
            )
        except ConfigError as error:
            errors.append(str(error))
    errors += reference_errors(checked, trees, name, text)
    if errors:
        raise ConfigError("\n".join(errors))
    paths = {
        (stage, output): str(checked.graph.run_dir / stage / path)
        for stage, settings in checked.stages.items()
        for output, path in STAGES[settings.command].outputs.items()
    }
    nodes: dict[str, Node] = {}
    for stage in _order(checked, trees, name):
        try:
            nodes[stage] = _node(stage, checked, trees[stage], paths, origins[stage])
        except ConfigError as error:
            errors.append(str(error))
    if not errors:
        errors = list(component_errors(nodes, name, text))
    if errors:
        raise ConfigError("\n".join(errors))
    return Graph(
        Path(name).name.removesuffix(".toml"), checked.graph.run_dir, checked.graph.seed, nodes, checked
    )


Override = tuple[tuple[str, ...], object, str]
"""Key path in the stage's config, value, and the text of the `--set`."""


@dataclass(frozen=True)
class _Origin:
    """Where the keys of a stage's config come from, for messages."""

    name: str
    """The stage, and its recipe if it has one."""
    text: str
    """The text of that recipe."""
    places: Mapping[str, str]
    """Key path → where the graph sets it."""
    overrides: Mapping[str, str]
    """Key path → `--set`."""


def _override(tree: Tree, overrides: Sequence[str], name: str, text: str) -> dict[str, list[Override]]:
    """Apply the overrides of the graph itself; return the rest by stage."""
    later: dict[str, list[Override]] = {}
    for override in overrides:
        key, value = parse_override(override)
        if key[0] in ("graph", "plan") and len(key) > 1:
            set_key(tree, key, value)
            continue
        known = [*tree["stages"], "graph"]
        if key[0] not in tree["stages"] or len(key) < 2:
            hint = did_you_mean(key[0], known)
            raise ConfigError(
                f"--set {override!r}: expected <stage>.<key>=… or graph.<key>=…; stages are "
                f"{', '.join(tree['stages'])}{hint}"
            )
        if not isinstance(tree["stages"][key[0]], dict):
            raise ConfigError(f"{location(name, text, key[0])}: not a section; write [stages.{key[0]}]")
        if key[1] in ("gate", "plan"):
            set_key(tree["stages"][key[0]], key[1:], value)
        else:
            later.setdefault(key[0], []).append((tuple(key[1:]), value, override))
    return later


def _tree(
    stage: str, recipe: GraphRecipe, later: Sequence[Override], where: str, graph_file: Path | None
) -> tuple[Tree, _Origin]:
    """Return the stage's config tree with its references as written: its recipe, `set`, `--set`, seed and folder."""
    settings = recipe.stages[stage]
    command = STAGES[settings.command]
    tree: Tree = {}
    origin_name, body = where, ""
    if settings.recipe is not None:
        try:
            named = settings.recipe if graph_file is None else beside(settings.recipe, graph_file, "recipe")
            file, body = find_recipe(named)
        except ConfigError as error:
            raise ConfigError(f"{where}: recipe: {error}") from None
        read = read_toml(file, body)
        inputs_beside(read, command.inputs, recipe_file(file))
        tree = command.adapt(read)
        origin_name = f"{where}, recipe {file}"
        if tree.get("stage", command.name) != command.name:
            raise ConfigError(
                f"{where}: recipe = {settings.recipe!r} is one of `grpo {tree['stage']}`, not of {command.name!r}"
            )
    folder = recipe.graph.run_dir / stage
    own_keys = list(flatten(settings.set))
    twice = [key for key, count in Counter(key for key, _ in own_keys).items() if count > 1]
    if twice:
        raise ConfigError(f"{where}: set.{'.'.join(twice[0])} is set twice; leave one")
    written = [(key, value, f"{where}: set.") for key, value in own_keys]
    own: Tree = copy.deepcopy({".".join(key): value for key, value in own_keys})
    inputs_beside(own, command.inputs, graph_file)
    written = [(key, own[".".join(key)], source) for key, _, source in written]
    written += [(key, value, f"--set {stage}.") for key, value, _ in later]
    for key, value, source in written:
        if key[0] == command.output_key:
            raise ConfigError(f"{source}{key[0]}: the graph chooses {folder}; leave the key out")
        try:
            set_key(tree, key, value)
        except ConfigError as error:
            raise ConfigError(str(error).replace("--set ", source, 1)) from None
    if "seed" in command.config.model_fields and not any(key == ("seed",) for key, _, _ in written):
        tree["seed"] = recipe.graph.seed
    is_file = command.output_key == "out"
    tree[command.output_key] = str(folder / command.outputs[command.main_output] if is_file else folder)
    places = {".".join(key): where for key, _ in own_keys} | {"seed": where, command.output_key: where}
    overrides = {".".join(key): override for key, _, override in later}
    return tree, _Origin(origin_name, body, places, overrides)


def _order(recipe: GraphRecipe, trees: Mapping[str, JsonDict], name: str) -> list[str]:
    """Return the stages, parents first, among equals in the file's order.

    Raises:
        ConfigError: stages that wait for each other.
    """
    waits = {
        stage: {*(r.stage for r in references(trees[stage], "")), *settings.after}
        for stage, settings in recipe.stages.items()
    }
    order: list[str] = []
    while len(order) < len(waits):
        ready = next((s for s, on in waits.items() if s not in order and on <= set(order)), None)
        if ready is None:
            left = {s: on - set(order) for s, on in waits.items() if s not in order}
            raise ConfigError(f"{name}: these stages wait for each other: {' ← '.join(_cycle(left))}")
        order.append(ready)
    return order


def _cycle(waits: Mapping[str, set[str]]) -> list[str]:
    """Return a cycle of stages; every one of `waits` waits for another of them."""
    path = [next(iter(waits))]
    while True:
        following = min(waits[path[-1]])
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _node(
    stage: str,
    recipe: GraphRecipe,
    tree: Tree,
    paths: Mapping[tuple[str, str], str],
    origin: _Origin,
) -> Node:
    settings = recipe.stages[stage]
    command = STAGES[settings.command]
    config = check(
        command.config,
        fill(tree, paths, recipe.graph.seed),
        origin.name,
        origin.text,
        dict(origin.overrides),
        dict(origin.places),
    )
    return Node(
        name=stage,
        command=settings.command,
        stage=command,
        config=config,
        folder=recipe.graph.run_dir / stage,
        needs=tuple(references(tree, "")),
        settings=settings,
    )
