"""Which evaluation sets of a graph were not compared with what its stages train on. Reads no data.

R1 compares every training text with every evaluation question and solution (10-grams). A comparison stands in a stage
`decontaminate`, or in the keys `decontaminate` of a stage `curate`, on the way from the data to the training.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_recipes.config import DatasetConfig, source_kind, source_name, sources_of
from grpo.graph.parse import Graph, Node
from grpo.graph.references import leaves

DATA_KEYS = ("data.source", "mix.*.source", "sources.*", "source")
"""The inputs of stages that hold rows; several sources of `data.source` have numbers behind it."""


@dataclass(frozen=True)
class EvaluationSet:
    """An evaluation set, as far as two sections of a recipe must agree to mean the same."""

    source: str | tuple[str, ...]
    subset: str | None
    split: str

    @classmethod
    def of(cls, data: DatasetConfig) -> EvaluationSet:
        """Return the set that a section of a recipe names."""
        return cls(data.source, data.subset, data.split or "train")


def uncompared(graph: Graph) -> list[str]:
    """Return a line for every evaluation set and data source that meet in the graph without a comparison.

    Procedural sources are left out: their training and held-out problems differ by construction.
    """
    lines = []
    for held_out in evaluation_sets(graph):
        found: dict[str, list[str]] = {}
        for node in graph.nodes.values():
            if node.stage.main_output == "policy":
                for source in dict.fromkeys(_sources(graph, node, held_out)):
                    found.setdefault(source, []).append(node.name)
        for source, trained in found.items():
            lines.append(
                f"{source_name(held_out.source)} is evaluated but not compared with {source}, on which "
                f"{', '.join(trained)} train{'s' if len(trained) == 1 else ''}; put a stage `decontaminate` between"
            )
    return lines


def evaluation_sets(graph: Graph) -> list[EvaluationSet]:
    """Return the evaluation sets of all stages, each once; procedural ones are left out."""
    found: dict[EvaluationSet, None] = {}
    for node in graph.nodes.values():
        data = getattr(getattr(node.config, "eval", None), "data", None)
        if isinstance(data, DatasetConfig) and _is_fixed(data.source):
            found.setdefault(EvaluationSet.of(data))
    return list(found)


def _sources(graph: Graph, node: Node, held_out: EvaluationSet) -> Iterator[str]:
    """Yield the data sources whose rows reach the stage without having been compared with the set."""
    if any(EvaluationSet.of(text.rows) == held_out for text in node.stage.compares_with(node.config)):
        return
    for need in node.needs:
        if _holds_rows(need.key):
            yield from _sources(graph, graph.nodes[need.stage], held_out)
    for value, key in leaves(node.config.model_dump(mode="json")):
        is_outside = isinstance(value, str) and value and not Path(value).is_relative_to(graph.run_dir)
        if _holds_rows(key) and is_outside and _is_fixed(str(value)):
            yield str(value)


def _holds_rows(key: str) -> bool:
    return any(
        fnmatch.fnmatchcase(key, pattern) or fnmatch.fnmatchcase(key, f"{pattern}.*") for pattern in DATA_KEYS
    )


def _is_fixed(source: str | tuple[str, ...]) -> bool:
    return all(source_kind(name) in ("file", "hub") for name in sources_of(source))
