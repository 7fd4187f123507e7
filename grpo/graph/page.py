"""report.html of a graph in one file: tables, a drawing of the graph, and the curves and samples of each stage.

A stage's part is the page of `grpo report` (tracking/report/run.js.j2), which opens on a click.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import jinja2

from grpo.graph.drawing import draw
from grpo.graph.figures import read_figures
from grpo.graph.parse import Graph, Node
from grpo.graph.runner import Progress, View
from grpo.graph.screen import elapsed
from grpo.graph.tables import TABLES, TableRow, cell, head, rows, shown_columns
from grpo.stages.figures import Figures
from grpo.tracking.report import page as report_page
from grpo.tracking.report.figures import spread
from grpo.tracking.report.page import collect, embed
from policies.files import write_atomic
from policies.json_types import JsonDict

SAMPLE_FILES = 3
SAMPLE_ROWS = 12
MAX_CHARS = 1500
"""Characters of a text that the page shows; the stage's files hold the whole text."""
CLASSES = {"done": "done", "kept": "done", "held": "held", "failed": "failed", "running": "running"}
TITLES = {
    "stages": "Stages, in the order of the pipeline",
    "students": "Distilled students, and reinforcement learning on the same students",
}


def write_page(graph: Graph, progress: Progress, out: Path) -> Path:
    """Write the page; returns its path."""
    views = progress.views
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, Path(report_page.__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    picture = draw(
        {name: node.parents for name, node in graph.nodes.items()},
        {name: _box(graph.nodes[name], views[name]) for name in graph.nodes},
    )
    found = rows(graph, progress)
    page = environment.get_template("page.html.j2").render(
        title=graph.name,
        about=_about(graph, progress),
        tables=[_table(TITLES[t], found[t]) for t in TABLES if found[t]],
        picture=picture,
        data=embed({"stages": [stage_data(n, views[n.name], progress) for n in graph.nodes.values()]}),
    )
    write_atomic(out, page)
    return out


def stage_data(node: Node, view: View, progress: Progress) -> JsonDict:
    """Return the page's data of one stage, a JSON tree."""
    done = view.status in ("done", "kept")
    peak = f"{view.peak_mib:,.0f} MiB" if view.peak_mib is not None else ""
    about = [view.status, elapsed(view), peak, f"needs {', '.join(node.parents)}" if node.parents else ""]
    if node.name in progress.held:
        about.append(f"gate shut: {progress.held[node.name]}")
    figures = {key: value for key, value in read_figures(node).items() if key != "eval"} if done else {}
    return {
        "name": node.name,
        "command": node.command,
        "figure": view.figure if done else "",
        "about": " · ".join(part for part in about if part),
        "run": _run(node) if done else None,
        "rows": _rows(node) if done else [],
        "summary": [list(pair) for pair in _flat(figures)],
        "config": node.config.model_dump(mode="json"),
    }


def _run(node: Node) -> JsonDict | None:
    """Return the data of the stage's own report, with fewer samples; None for a stage without curves."""
    if not (node.folder / "metrics.jsonl").exists() and not (node.folder / "eval.jsonl").exists():
        return None
    found = collect(node.folder)
    shown = []
    for stage in dict.fromkeys(file["stage"] for file in found["samples"]):
        shown += spread([f for f in found["samples"] if f["stage"] == stage], SAMPLE_FILES)
    found["samples"] = [{**file, "rows": file["rows"][:SAMPLE_ROWS]} for file in shown]
    if node.stage.is_evaluation:
        found["status"] = "an evaluation"
    return found


def _rows(node: Node) -> list[JsonDict]:
    """Return the first rows of a stage whose main output is a Parquet file."""
    path = node.output(node.stage.main_output)
    if path.suffix != ".parquet":
        return []
    import pyarrow.parquet as pq

    texts = ("prompt", "completion", "chosen", "rejected")
    found = []
    batches = pq.ParquetFile(path).iter_batches(batch_size=SAMPLE_ROWS)
    for row in islice((row for batch in batches for row in batch.to_pylist()), SAMPLE_ROWS):
        chips = [
            f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in row.items()
            if k not in texts and isinstance(v, str | int | float) and len(str(v)) <= 40
        ]
        found.append(
            {"chips": chips, "texts": [[k, str(row[k])[:MAX_CHARS]] for k in texts if row.get(k) is not None]}
        )
    return found


def _flat(figures: Figures, prefix: str = "") -> list[tuple[str, str]]:
    """Return the path and value of every figure, as text."""
    found: list[tuple[str, str]] = []
    for key, value in figures.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        elif value is not None:
            found.append((f"{prefix}{key}", f"{value:.6g}" if isinstance(value, float) else str(value)))
    return found


def _box(node: Node, view: View) -> tuple[str, str, str]:
    second = f"grpo {node.command}" + (f" · {elapsed(view)}" if elapsed(view) else "")
    done = view.status in ("done", "kept")
    return CLASSES.get(view.status, "waiting"), second, view.figure if done else view.status


def _about(graph: Graph, progress: Progress) -> str:
    views = list(progress.views.values())
    done = sum(view.status in ("done", "kept") for view in views)
    minutes = sum(view.seconds for view in views) / 60
    peaks = [view.peak_mib for view in views if view.peak_mib is not None]
    text = (
        f"{done} of {len(views)} stages done · seed {graph.seed} · {minutes:.1f} minutes, all stages together"
    )
    return text + (f" · at most {max(peaks) / 1024:.1f} GiB" if peaks else "")


def _table(title: str, found: list[TableRow]) -> JsonDict:
    names = shown_columns(found)
    return {
        "title": title,
        "heads": ["", *(head(name, found) for name in names)],
        "rows": [[row["stage"], *(cell(row, name) for name in names)] for row in found],
    }
