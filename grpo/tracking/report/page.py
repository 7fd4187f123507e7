"""`grpo report`: one self-contained HTML file about a run, finished or not. Opens offline; loads nothing.

    write_report(Path("runs/demo"), Path("runs/demo/report.html"))

`collect` gathers what the page shows (figures.py); run.html.j2 holds the page, its style and the script that
draws the curves as SVG. Text that a model wrote reaches the page as data only, never as markup.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from grpo.common.errors import BrokenRun
from grpo.tracking.jsonl import read_rows
from grpo.tracking.report.figures import charts, compared, headline, samples, status
from grpo.tracking.report.rewards import reward_lines
from grpo.tracking.stopped import read_stopped
from policies.files import write_atomic
from policies.json_types import JsonDict, JsonMapping


def write_report(run_dir: Path, out: Path, notes: str = "") -> Path:
    """Write the page; `notes` are paragraphs for its reader, shown as they are.

    Raises:
        BrokenRun: the folder holds no run.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("run.html.j2").render(
        title=run_dir.resolve().name, data=embed(collect(run_dir, notes))
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, page)
    return out


def embed(data: JsonMapping) -> str:
    """Return JSON that may stand inside a <script> element, whatever strings it holds."""
    text = json.dumps(_finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def collect(run_dir: Path, notes: str = "") -> JsonDict:
    """Gather everything the page shows, as plain data.

    Raises:
        BrokenRun: there is neither a config nor a row of metrics.
    """
    config, manifest, summary = (
        _read(run_dir / f"{name}.json") for name in ("config", "manifest", "summary")
    )
    rows, evals = read_rows(run_dir / "metrics.jsonl"), read_rows(run_dir / "eval.jsonl")
    if not config and not rows and not evals:
        raise BrokenRun(f"{run_dir} holds no run: no config.json, metrics.jsonl or eval.jsonl")
    correct = (config.get("eval") or {}).get("correct", "accuracy")
    return {
        "status": status(config, rows, summary),
        "stopped": _stopped(run_dir),
        "headline": headline(rows, evals, summary),
        "rewards": reward_lines(config, rows),
        "charts": [chart for chart in charts(rows, evals) if chart["series"]],
        "compared": compared(run_dir, correct),
        "samples": samples(run_dir),
        "correct": correct,
        "facts": _facts(config, manifest, summary),
        "config": config,
        "notes": [paragraph.strip() for paragraph in notes.split("\n\n") if paragraph.strip()],
    }


def _stopped(run_dir: Path) -> JsonDict | None:
    """Return why the run ended early, for the top of the page."""
    stopped = read_stopped(run_dir)
    if stopped is None:
        return None
    return {
        "title": f"{stopped.title} after update {stopped.step:,}, {stopped.at}",
        "message": stopped.message or stopped.error,
        "traceback": stopped.traceback if stopped.kind == "error" else "",
    }


def _facts(config: JsonMapping, manifest: JsonMapping, summary: JsonMapping) -> list[list[str]]:
    """List name and value of what a reader looks for first; the page shows the whole config below them."""
    algorithm, policy = config.get("algorithm") or {}, config.get("policy") or {}
    versions = manifest.get("versions") or {}
    facts: list[tuple[str, object]] = [
        ("policy", policy.get("model")),
        ("rewards", ", ".join(f"{r['name']} × {r.get('weight', 1)}" for r in config.get("rewards") or [])),
        ("phase", _phase(algorithm)),
        ("learning rate", (config.get("optimizer") or {}).get("lr")),
        (
            "β, ε",
            f"{algorithm.get('kl_coef')}, {algorithm.get('clip_low')} / {algorithm.get('clip_high')}"
            if algorithm
            else None,
        ),
        ("seed", manifest.get("seed", config.get("seed"))),
        ("started", manifest.get("started")),
        ("git commit", manifest.get("git_commit")),
        ("command", " ".join(manifest["command"]) if manifest.get("command") else None),
        ("machine", ", ".join(str(manifest[k]) for k in ("cpu", "cores", "platform") if manifest.get(k))),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("data", ", ".join(f"{name} {value}" for name, value in (manifest.get("data") or {}).items())),
        ("rollout workers restarted", summary.get("worker_restarts")),
    ]
    return [[name, str(value)] for name, value in facts if value not in (None, "")]


def _phase(algorithm: JsonMapping) -> str | None:
    if not algorithm:
        return None
    questions, m, g = (algorithm.get(key, 1) for key in ("questions_per_step", "mini_batches", "group_size"))
    return f"{questions * m} questions × {g} samples, {m} update{'s' if m > 1 else ''}"


def _read(path: Path) -> JsonDict:
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BrokenRun(f"{path} is not JSON: {error}") from error


def _finite(value: object) -> object:
    """Replace NaN and infinity by None, at any depth."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
