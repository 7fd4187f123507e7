"""The history of one sample: how it was sampled, by which policy, how each reward judged it, what it taught."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import numpy as np

from grpo.algorithm.schedules import value_at
from grpo.config.sections import ScheduleStep
from grpo.tracking.sample_row import COLUMNS, component_column, component_of
from grpo.tracking.samples import TOKEN_COLUMNS
from grpo.view.parts import Part, PartCache, column, read_part
from policies.json_types import JsonDict, JsonMapping
from rewards.config import RewardConfig, component_labels

SIBLINGS = ("id", "index", "total", "advantage", "tokens", "verdict", "finish_reason")
MAX_MOMENTS = 400
"""Rows of the prompt's course through the run."""


def find_sample(parts: Sequence[Part], sample_id: str, cache: PartCache) -> tuple[Part, int] | None:
    """Find a sample by its id; returns its part and row, None if it is not there (any more)."""
    import pyarrow.compute as pc

    match = re.match(r"[^/]*-(\d+)/", sample_id)  # ids of `grpo rl` and `grpo eval` say the step
    step = int(match[1]) if match else None
    likely = [part for part in parts if step is not None and part.steps[0] <= step <= part.steps[1]]
    for part in [*likely, *(part for part in parts if part not in set(likely))]:
        at = pc.index(column(part, "id", cache), sample_id).as_py()
        if at >= 0:
            return part, at
    return None


def history(part: Part, row: int, parts: Sequence[Part], config: JsonMapping, cache: PartCache) -> JsonDict:
    """Return everything that is known about a sample.

    Args:
        part, row: where it stands.
        parts: of its run.
        config: config.json of its run.
        cache: of columns.
    """
    names = [name for name in (*COLUMNS, *part.file.components, *part.file.kept) if name not in TOKEN_COLUMNS]
    sample: JsonDict = read_part(part, names).slice(row, 1).to_pylist()[0]
    components = {component_of(name): sample.pop(name) for name in part.file.components}
    kept = {name: sample.pop(name) for name in part.file.kept}
    group = sample["id"].rpartition("/")[0]
    ids = column(part, "id", cache).to_pylist()
    members = [at for at, other in enumerate(ids) if other.rpartition("/")[0] == group]
    siblings = read_part(part, SIBLINGS).take(members).to_pylist()
    return {
        "sample": sample,
        "stage": part.file.stage,
        "kept": kept,
        "sampler": sampler(sample, part.file.stage, config),
        "rewards": rewards(sample, components, config),
        "group": siblings,
        "course": course(parts, sample["prompt_id"], cache),
    }


def sampler(sample: JsonMapping, stage: str, config: JsonMapping) -> list[list[object]]:
    """Return [name, value] of the sampler's settings for this sample; values are numbers and texts."""
    found: list[list[object]] = []
    sampling, algorithm = config.get("sampling") or {}, config.get("algorithm") or {}
    if stage == "eval" and config.get("eval"):
        settings = config["eval"]
        limit = settings.get("max_tokens") or scheduled(sampling, "max_tokens", sample["step"])
        found += [["temperature", settings.get("temperature")], ["top_p", settings.get("top_p")]]
        found += [["max_tokens", limit], ["samples per prompt", settings.get("samples")]]
    elif sampling:
        began = sample["version_first"] if sample["version_first"] is not None else sample["step"]
        found += [
            ["temperature", scheduled(sampling, "temperature", began)],
            ["top_p", sampling.get("top_p", 1.0)],
        ]
        found += [["max_tokens", scheduled(sampling, "max_tokens", began)]]
        found += [["samples per prompt", algorithm.get("group_size") or config.get("samples")]]
    if sampling.get("stop_tokens"):
        found.append(["stop tokens", ", ".join(sampling["stop_tokens"])])
    found.append(["seed", sample["seed"]])
    found.append(["mean log-prob, nats", sample["mean_logprob"]])
    return [[name, value] for name, value in found if value is not None]


def scheduled(sampling: JsonMapping, key: str, step: int) -> float | None:
    """Return a setting as it was at a step, by its schedule; None if the stage has no such setting."""
    changes = [ScheduleStep.model_validate_json(json.dumps(c)) for c in sampling.get(f"{key}_schedule") or []]
    return value_at(step, sampling[key], changes) if sampling.get(key) is not None else None


def rewards(sample: JsonMapping, components: JsonMapping, config: JsonMapping) -> list[JsonDict]:
    """Return each reward's value, weight, part of the total and reason, in the order of the recipe."""
    listed = [RewardConfig.model_validate_json(json.dumps(entry)) for entry in config.get("rewards") or []]
    weights = dict(zip(component_labels(listed), (entry.weight for entry in listed), strict=True))
    names = [
        *(name for name in weights if name in components),
        *(name for name in components if name not in weights),
    ]
    reasons = reasons_of(sample["reason"] or "", names)
    found = []
    for name in names:
        value, weight = components[name], weights.get(name)
        part = (
            value * weight
            if value is not None and weight is not None and sample["total"] is not None
            else None
        )
        found.append(
            {
                "name": name,
                "column": component_column(name),
                "value": value,
                "weight": weight,
                "part": part,
                "reason": reasons.get(name, ""),
            }
        )
    return found


def reasons_of(reason: str, names: Sequence[str]) -> dict[str, str]:
    """Split a sample's reason, `accuracy: …; format: …`, by reward; what no reward begins is under ""."""
    labels = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    if not labels:
        return {"": reason} if reason else {}
    pieces = re.split(rf"(?:^|; )({labels}): ", reason)
    found = {"": pieces[0]} if pieces[0] else {}
    return found | dict(zip(pieces[1::2], pieces[2::2], strict=True))


def course(parts: Sequence[Part], prompt: str, cache: PartCache) -> list[JsonDict]:
    """Return how the run did on a prompt, by stage and step: samples, mean and best reward, mean length."""
    moments: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for part in parts:
        ids = column(part, "prompt_id", cache)
        known = ids.dictionary.to_pylist()
        if prompt not in known:
            continue
        at = np.flatnonzero(ids.indices.to_numpy(zero_copy_only=False) == known.index(prompt))
        steps, totals, tokens = (
            column(part, name, cache).take(at).to_pylist() for name in ("step", "total", "tokens")
        )
        for step, total, length in zip(steps, totals, tokens, strict=True):
            moments.setdefault((step, part.file.stage), []).append(
                (np.nan if total is None else total, length)
            )
    found = []
    for (step, stage), rows in sorted(moments.items())[-MAX_MOMENTS:]:
        totals = [total for total, _ in rows if not np.isnan(total)]
        found.append(
            {
                "step": step,
                "stage": stage,
                "samples": len(rows),
                "mean": sum(totals) / len(totals) if totals else None,
                "best": max(totals) if totals else None,
                "tokens": sum(length for _, length in rows) / len(rows),
            }
        )
    return found
