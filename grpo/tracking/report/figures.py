"""What the report shows, as plain data: headline figures, curves, samples. Pure but for reading the sample files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TypeVar

from grpo.tracking.sample_row import component_column
from grpo.tracking.samples import read_columns, read_head, sample_files
from grpo.tracking.screen import PHASE_TIMES
from policies.json_types import JsonDict, JsonMapping

ItemT = TypeVar("ItemT")
MAX_POINTS = 600
"""Most points of a curve; longer runs are averaged over equal stretches of steps."""
MAX_BARS = 80
TIME_LABELS = {"old_ref": "old and reference log-probs", "sync": "weight sync"}
MAX_STEPS_SHOWN = 40
"""Number of sample files in the browser: the first, the last, and evenly between."""
MAX_ROWS_PER_STEP = 32
MAX_CHARS = 6000
"""Longest completion in the page; the whole text is in the Parquet file."""
COMPARED_PROBLEMS = 10
SHOWN_COLUMNS = (
    "prompt_id",
    "index",
    "answer",
    "total",
    "verdict",
    "reason",
    "advantage",
    "discarded",
    "finish_reason",
    "tokens",
    "mean_logprob",
)
"""Columns of a sample that the browser shows beside its texts and components."""


def status(config: JsonMapping, rows: Sequence[JsonMapping], summary: JsonMapping) -> str:
    """Say in words how far the run is."""
    done, steps = (rows[-1]["step"] if rows else 0), config.get("steps")
    if reason := summary.get("stopped_early"):
        return f"stopped early after {done:,} updates: {reason}"
    if summary:
        return f"finished after {done:,} updates"
    return f"not finished: {done:,}{f' of {steps:,}' if steps else ''} updates so far"


def headline(
    rows: Sequence[JsonMapping], evals: Sequence[JsonMapping], summary: JsonMapping
) -> list[dict[str, str]]:
    """Return the headline figures, before → after where there are two values."""
    tiles = []
    if evals:
        first, last = evals[0], evals[-1]
        for key, label, digits in (
            ("pass1", "held-out pass@1", 3),
            ("format", "format", 3),
            ("length", "length, tokens", 1),
        ):
            if last.get(key) is None:
                continue
            value = f"{last[key]:.{digits}f}"
            if len(evals) > 1 and first.get(key) is not None:
                value = f"{first[key]:.{digits}f} → {value}"
            below = f"95% interval {last['ci_low']:.3f} … {last['ci_high']:.3f}" if key == "pass1" else ""
            tiles.append({"label": label, "value": value, "below": below})
        tiles[0]["below"] += f", {last.get('n_problems', '?')} problems × {last.get('k', '?')}"
    held_out = [row["heldout/loss"] for row in rows if row.get("heldout/loss") is not None]
    if held_out:
        value = " → ".join(f"{loss:.3f}" for loss in (held_out[0], held_out[-1])[: len(held_out)])
        tiles.append({"label": "held-out loss", "value": value, "below": "before the first update → now"})
    mismatches = [row["logprob_mismatch/max"] for row in rows if row.get("logprob_mismatch/max") is not None]
    if mismatches:
        tiles.append(
            {
                "label": "largest log-prob mismatch",
                "value": f"{max(mismatches):.1e}",
                "below": "nats, any sampled token",
            }
        )
    if summary.get("minutes") is not None:
        tiles.append({"label": "minutes", "value": f"{summary['minutes']:.1f}", "below": ""})
    return tiles


def charts(rows: Sequence[JsonMapping], evals: Sequence[JsonMapping]) -> list[JsonDict]:
    """Return every chart of the page; one without data has no series."""
    reserved = ("reward/total", "reward/abstained_share")
    components = sorted({key for row in rows for key in row if key.startswith("reward/")} - set(reserved))

    def chart(title: str, unit: str, series: Iterable[JsonDict], **options: object) -> JsonDict:
        return {"title": title, "unit": unit, "series": [s for s in series if s["x"]], **options}

    def lines(**keys: str) -> list[JsonDict]:
        return [curve(rows, key, label) for label, key in keys.items()]

    pass1 = curve(evals, "pass1", "pass@1")
    pass1["low"], pass1["high"] = ([row.get(side) for row in evals] for side in ("ci_low", "ci_high"))
    held_out = [
        pass1,
        curve(evals, "passk", "pass@k"),
        curve(evals, "consk", "cons@k"),
        curve(evals, "format", "format"),
    ]
    rewards = [
        curve(rows, "reward/total", "total"),
        *(curve(rows, key, key.removeprefix("reward/")) for key in components),
    ]
    by_kind, shares, correlations = (
        family(rows, prefix) for prefix in ("reward_by_kind/", "reward_share/", "length_corr/")
    )
    # The loss of RL does not measure progress; the loss of a supervised run does.
    is_rl = any("reward/total" in row for row in rows)
    losses = [] if is_rl else lines(training="loss", **{"held out": "heldout/loss"})
    times = [
        stretch
        for name in PHASE_TIMES
        if (stretch := curve(rows, f"time/{name}_s", TIME_LABELS.get(name, name), MAX_BARS))["x"]
    ]
    return [
        chart("Loss", "mean of the batch", losses),
        chart("Held-out accuracy", "share; band: 95% interval", held_out, unit_range=True, points=True),
        chart("Reward", "mean per sample", rewards),
        chart("Reward by kind of prompt", "mean total per sample", by_kind),
        chart("Which reward decides", "share of the differences inside groups", shares),
        chart("Reward and length", "correlation inside groups", correlations),
        chart("Response length", "tokens", [*lines(training="length/mean"), curve(evals, "length", "held out")]),
        chart("Entropy", "nats per token", lines(entropy="policy/entropy")),
        chart("KL to the reference", "nats per token", lines(kl="policy/kl")),
        chart("Log-prob mismatch, engine against learner", "|Δ log-prob|, nats, log scale",
        lines(mean="logprob_mismatch/mean", max="logprob_mismatch/max"), log=True),
        chart("Clipped tokens", "share", lines(clipped="policy/clip_frac")),
        chart("Groups and samples without signal", "share",
              lines(**{"zero variance": "group/zero_variance_share", "truncated": "length/truncated_share",
                       "no verdict": "reward/abstained_share"}), unit_range=True),
        chart("Dynamic sampling", "groups per phase",
              lines(discarded="sampling/discarded_groups", filled="sampling/filled_groups")),
        chart("Load of experts", "heaviest over mean, less 1; share dropped",
              lines(**{"heaviest": "router/max_violation", "dropped": "router/dropped_share"})),
        chart("Gradient norm", "before clipping", lines(norm="grad_norm")),
        chart("Seconds per phase", "s", times, stacked=True),
    ]  # fmt: skip


def curve(rows: Sequence[JsonMapping], key: str, label: str, max_points: int = MAX_POINTS) -> JsonDict:
    """Return {"name", "x": steps, "y": values}; more than `max_points` are averaged over equal stretches of steps."""
    points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    if len(points) > max_points:
        bounds = [round(i * len(points) / max_points) for i in range(max_points + 1)]
        parts = [points[a:b] for a, b in pairwise(bounds)]
        points = [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]
    return {"name": label, "x": [x for x, _ in points], "y": [y for _, y in points]}


def family(rows: Sequence[JsonMapping], prefix: str) -> list[JsonDict]:
    """Return one curve for each metric whose name begins with `prefix`, named by the rest."""
    keys = sorted({key for row in rows for key in row if key.startswith(prefix)})
    return [curve(rows, key, key.removeprefix(prefix)) for key in keys]


def compared(run_dir: Path, correct: str) -> list[JsonDict]:
    """Return the first sample of the first held-out problems, by the first and the last policy; nothing is picked."""
    found = sample_files(run_dir / "eval")
    if not found:
        return []
    column = component_column(correct)
    first = list(islice(_first_samples(found[0][1], column), COMPARED_PROBLEMS))
    last: dict[str, JsonDict] = {}
    if len(found) > 1:
        last = {row["prompt_id"]: row for row in _first_samples(found[-1][1], column)}
    return [
        {
            "prompt": _cut(row["prompt"]),
            "answer": row["answer"],
            "sides": [_side(side, column) for side in (row, last.get(row["prompt_id"])) if side],
        }
        for row in first
    ]


def _first_samples(path: Path, column: str) -> Iterator[JsonDict]:
    """Yield the first sample of each problem; `column` holds the reward that says what is right, if there is one."""
    columns = ("prompt_id", "index", "step", "tokens", "prompt", "answer", "completion", column)
    return (row for row in read_columns(path, columns) if row["index"] == 0)


def _side(row: JsonMapping, column: str) -> JsonDict:
    value = row.get(column)
    right = None if value is None else value >= 1
    return {
        "step": row["step"],
        "completion": _cut(row["completion"]),
        "right": right,
        "tokens": row["tokens"],
    }


def samples(run_dir: Path) -> list[JsonDict]:
    """Return the rows for the sample browser, per step: the first `MAX_ROWS_PER_STEP`."""
    found = [*sample_files(run_dir / "samples"), *sample_files(run_dir / "eval")]
    by_folder = [
        spread([f for f in found if f[1].parent.name == name], MAX_STEPS_SHOWN)
        for name in ("samples", "eval")
    ]
    shown = []
    for step, path in [file for files in by_folder for file in files]:
        total, rows = read_head(path, MAX_ROWS_PER_STEP)
        components = list(rows[0].components) if rows else []
        shown.append(
            {
                "step": step,
                "stage": "held out" if path.parent.name == "eval" else "training",
                "of": total,
                "components": components,
                "rows": [
                    {
                        **{key: getattr(row, key) for key in SHOWN_COLUMNS},
                        "prompt": _cut(row.prompt),
                        "completion": _cut(row.completion),
                        "components": [row.components[name] for name in components],
                    }
                    for row in rows
                ],
            }
        )
    return shown


def spread(items: Sequence[ItemT], count: int) -> list[ItemT]:
    """Choose at most `count` items: the first, the last, and evenly between."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _cut(text: str) -> str:
    return (
        text
        if len(text) <= MAX_CHARS
        else f"{text[:MAX_CHARS]} … [{len(text) - MAX_CHARS:,} characters more]"
    )
