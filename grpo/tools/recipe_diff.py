"""`grpo config diff A B`: the keys in which two recipes differ, with overrides and defaults filled in.

diff = compare("r1-tiny", "r1")
diff.only_first                  stages that the second has not: {"base": "pretrain"}
diff.keys["zero"]                [("algorithm.group_size", 8, 16), …]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from grpo.common.config_io import find_recipe, read_toml
from grpo.common.errors import ConfigError
from grpo.graph.parse import Graph, load_graph
from grpo.graph.references import leaves
from grpo.graph.single import single

ABSENT = "–"
"""What a table shows for a key that one of the two has not."""
Values = dict[str, object]


@dataclass(frozen=True)
class Difference:
    """What two recipes do not have in common."""

    first: str
    second: str
    """Names of the recipes."""
    only_first: dict[str, str]
    only_second: dict[str, str]
    """Name → command of the stages that only one of them has."""
    keys: dict[str, list[tuple[str, object, object]]]
    """Stage of both → (key, value in the first, value in the second) of all keys that differ; `ABSENT` for none."""


def compare(first: str, second: str) -> Difference:
    """Compare two recipes, both of graphs or both of one stage.

    Args:
        first, second: TOML files, shipped names, or folders of runs.

    Raises:
        ConfigError: a recipe is wrong, or one is of a graph and the other of a stage.
    """
    is_graph = [_is_graph(name) for name in (first, second)]
    if is_graph[0] != is_graph[1]:
        graph, stage = (first, second) if is_graph[0] else (second, first)
        raise ConfigError(
            f"{graph} is a graph of stages and {stage} the recipe of one stage; compare two graphs, or two stages"
        )
    graphs = [load_graph(name) if is_graph[0] else single(name)[0] for name in (first, second)]
    a, b = (dict(graph.nodes) for graph in graphs)
    if not is_graph[0]:  # the only stage of each has the recipe's name
        b = {next(iter(a)): next(iter(b.values()))}
    both = [name for name in a if name in b]
    keys = {}
    for name in both:
        values = [_values(graph, nodes[name].config) for graph, nodes in zip(graphs, (a, b), strict=True)]
        if a[name].command != b[name].command:
            values = [{"command": a[name].command}, {"command": b[name].command}]
        if found := _differences(*values):
            keys[name] = found
    return Difference(
        first,
        second,
        {name: node.command for name, node in a.items() if name not in b},
        {name: node.command for name, node in b.items() if name not in a},
        keys,
    )


def tables(diff: Difference) -> list[Table]:
    """Return what `grpo config diff` prints: the stages of one recipe alone, and the keys that differ by stage."""
    made = []
    if diff.only_first or diff.only_second:
        table = Table(
            "stage", diff.first, diff.second, title="stages that only one of them has", title_justify="left"
        )
        for name, command in diff.only_first.items():
            table.add_row(name, f"grpo {command}", ABSENT)
        for name, command in diff.only_second.items():
            table.add_row(name, ABSENT, f"grpo {command}")
        made.append(table)
    for stage, rows in diff.keys.items():
        table = Table("key", diff.first, diff.second, title=stage, title_justify="left")
        for key, *values in rows:
            table.add_row(key, *(_shown(value) for value in values))
        made.append(table)
    return made


def _is_graph(name: str) -> bool:
    if Path(name).expanduser().is_dir() or name.endswith(".json"):
        return False
    return "stages" in read_toml(*find_recipe(name))


def _values(graph: Graph, config: object) -> Values:
    """Return key → value; paths of other stages' artefacts begin with {run_dir}."""
    tree = config.model_dump(mode="json")  # type: ignore[attr-defined]
    prefix = f"{graph.run_dir}/"
    return {
        key: value.replace(prefix, "{run_dir}/", 1)
        if isinstance(value, str) and value.startswith(prefix)
        else value
        for value, key in leaves(tree)
    }


def _differences(first: Values, second: Values) -> list[tuple[str, object, object]]:
    keys: Sequence[str] = list(dict.fromkeys([*first, *second]))
    pairs = ((key, first.get(key, ABSENT), second.get(key, ABSENT)) for key in keys)
    return [(key, a, b) for key, a, b in pairs if a != b]


def _shown(value: object) -> str:
    from rich.markup import escape

    return escape(str(value)) if value is not None else "none"
