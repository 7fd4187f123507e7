"""summary.json of a graph and its two tables, shaped like the paper's: a row per evaluated policy.

stages      R1-Zero, Dev1, Dev2, Dev3, R1          (R1 v2 table 3)
students    distilled students and RL on the same  (R1 v2 tables 5 and 6)
"""

from __future__ import annotations

from typing import cast

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from grpo.graph.figures import read_figures
from grpo.graph.parse import Graph, Node
from grpo.graph.runner import Progress
from grpo.stages.figures import look_up
from policies.json_types import JsonDict

TABLES = ("stages", "students")
TableRow = JsonDict
"""A row of a table: "stage" and a JSON value per column."""
COLUMNS = {
    "pass1": "pass1",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "consk": "consk",
    "passk": "passk",
    "format": "format",
    "language": "components.language_consistency",
    "length": "length",
    "truncated": "truncated",
    "rating": "rating.value",
    "k": "k",
    "problems": "n_problems",
}
"""Column of summary.json → path in the evaluation's summary; [graph.columns] adds to them."""
TRAINED = "trained_tokens"
"""The column with the completion tokens that the policy's own stage trained on; it is not from the evaluation."""
HEADS = {
    "pass1": "pass@1",
    "consk": "cons@{k}",
    "passk": "pass@{k}",
    "length": "tokens",
    TRAINED: "learnt from",
}
HIDDEN = ("ci_low", "ci_high", "k", "problems", "truncated")
"""Columns of summary.json that the printed table leaves out."""


def rows(graph: Graph, progress: Progress) -> dict[str, list[TableRow]]:
    """Return the rows of both tables, from the evaluations that are done; missing figures are left out."""
    columns = COLUMNS | graph.recipe.graph.columns
    found: dict[str, dict[str, TableRow]] = {table: {} for table in TABLES}
    for node in graph.nodes.values():
        row = node.settings.row
        if row is None or progress.views[node.name].status not in ("done", "kept"):
            continue
        figures = read_figures(node)
        into = found[row.table].setdefault(row.name, {"stage": row.name})
        for name, path in columns.items():
            value = look_up(figures, path)
            if value is not None:
                into[f"{row.prefix}.{name}" if row.prefix else name] = value
        if (tokens := trained_tokens(graph, node)) is not None:
            into[TRAINED] = tokens
    return {table: list(by_name.values()) for table, by_name in found.items()}


def trained_tokens(graph: Graph, evaluation: Node) -> int | None:
    """Return the tokens that the stage which made the evaluated policy trained on.

    None if no stage made it, or if the summary of that stage lacks them (pre-training).
    """
    maker = next((r.stage for r in evaluation.needs if r.key == "policy.model"), None)
    return cast("int | None", look_up(read_figures(graph.nodes[maker]), TRAINED)) if maker else None


def summary(graph: Graph, progress: Progress) -> JsonDict:
    """Return the content of the graph's summary.json."""
    views = progress.views
    return {
        "recipe": graph.name,
        "seed": graph.seed,
        "finished": all(view.status in ("done", "kept") for view in views.values()),
        "minutes": round(sum(view.seconds for view in views.values()) / 60, 2),
        **rows(graph, progress),
        "held": dict(progress.held),
        "nodes": {
            name: {
                "command": node.command,
                "state": {"kept": "done"}.get(views[name].status, views[name].status),
                "seconds": round(views[name].seconds, 1),
                "peak_mib": views[name].peak_mib,
                "figure": views[name].figure,
                "artefacts": {
                    output: hash_ for (stage, output), hash_ in progress.hashes.items() if stage == name
                },
            }
            for name, node in graph.nodes.items()
        },
    }


def printed(title: str, table_rows: list[TableRow]) -> Table:
    """Return one of the tables for the screen."""
    names = shown_columns(table_rows)
    table = Table(
        title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column("")
    for name in names:
        table.add_column(head(name, table_rows), justify="right")
    for row in table_rows:
        table.add_row(escape(row["stage"]), *(cell(row, name) for name in names))
    return table


def shown_columns(table_rows: list[TableRow]) -> list[str]:
    """Return the columns of the printed table, in order of first appearance."""
    names = dict.fromkeys(name for row in table_rows for name in row if name != "stage")
    return [n for n in names if n.rpartition(".")[2] not in HIDDEN]


def head(name: str, table_rows: list[TableRow]) -> str:
    """Return the heading of a column."""
    prefix, dot, base = name.rpartition(".")
    k = next((row[prefix + dot + "k"] for row in table_rows if prefix + dot + "k" in row), "k")
    return f"{prefix} {HEADS.get(base, base.replace('_', ' '))}".strip().format(k=k)


def cell(row: TableRow, name: str) -> str:
    """Format a value; pass@1 with half the width of its 95% interval."""
    value = row.get(name)
    if not isinstance(value, int | float):
        return "–" if value is None else str(value)
    prefix, dot, base = name.rpartition(".")
    if base == "length":
        return f"{value:.1f}"
    if base == TRAINED:
        return f"{value:,}"
    low, high = (row.get(prefix + dot + side) for side in ("ci_low", "ci_high"))
    if base == "pass1" and low is not None and high is not None:
        return f"{value:.3f} ±{(high - low) / 2:.3f}"
    return f"{value:.3f}"
