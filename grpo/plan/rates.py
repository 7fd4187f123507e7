"""How fast this machine is, from stages that ran on it; and what that predicts for other stages.

A stage's time is modelled as a start (process, Ray, engine, all that happens once) and a constant per token: per
generated token where the stage samples, per trained token where it only trains. Memory is that of the same command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from grpo.common.errors import BrokenRun, ConfigError
from grpo.stages.figures import Finished
from grpo.stages.registry import STAGES
from grpo.stages.workload import Workload
from policies.json_types import JsonDict


@dataclass(frozen=True)
class Rate:
    """How fast a command is on this machine."""

    start_s: float
    per_token_s: float
    tokens: float
    """Mean tokens of a completion, or of an example or document."""
    stage_tokens: float
    """Mean tokens of a whole stage: for a stage whose data another one has yet to make."""
    peak_mib: float | None


@dataclass(frozen=True)
class Rates:
    """The rates of the stages of a run directory."""

    by_stage: Mapping[str, Rate]
    """A stage of the same name and command predicts best."""
    by_command: Mapping[str, Rate]
    commands: Mapping[str, str]
    """Stage → command."""

    def of(self, stage: str, command: str) -> Rate | None:
        """Return the rate to use for a stage; None if its command was not observed."""
        if self.commands.get(stage) == command:
            return self.by_stage[stage]
        return self.by_command.get(command)


@dataclass(frozen=True)
class Observation:
    """What one finished stage took."""

    command: str
    seconds: float
    busy_s: float
    """The part of `seconds` that the tokens took."""
    tokens: float
    items: float
    """Completions, examples or documents that the tokens belong to."""
    peak_mib: float | None


def observe(folder: Path) -> Observation | None:
    """Return how long a finished stage of a graph took; None if it is unfinished, or a file of it was taken away.

    Raises:
        BrokenRun: one of its files is damaged.
        ConfigError: its stage is not installed here.
    """
    state = _json(folder / "node.json")
    if state.get("state") != "done":
        return None
    command = state["config"]["stage"]
    if command not in STAGES:
        raise ConfigError(
            f"{folder} was made by `grpo {command}`, which is not installed here; install its package"
        )
    stage = STAGES[command]
    rows = [_parse(folder / "metrics.jsonl", line) for line in _lines(folder / "metrics.jsonl")]
    try:
        found = stage.observe(Finished(state["config"], _json(folder / stage.summary), rows))
    except KeyError:  # a missing figure: the summary was taken away, and the stage will run again
        return None
    return Observation(
        command=command,
        seconds=float(state["seconds"]),
        busy_s=found.busy_s,
        tokens=found.tokens,
        items=found.items,
        peak_mib=state.get("peak_mib"),
    )


def rates(observations: Mapping[str, Observation]) -> Rates:
    """Return the rates from observed stages by name."""
    by_command: dict[str, list[Observation]] = {}
    for seen in observations.values():
        by_command.setdefault(seen.command, []).append(seen)
    return Rates(
        by_stage={name: rate([seen]) for name, seen in observations.items()},
        by_command={command: rate(seen) for command, seen in by_command.items()},
        commands={name: seen.command for name, seen in observations.items()},
    )


def rate(observations: Sequence[Observation]) -> Rate:
    """Return the mean over stages: of starts and sizes per stage, of times per token and lengths over all tokens."""
    tokens, items = sum(o.tokens for o in observations), sum(o.items for o in observations)
    peaks = [o.peak_mib for o in observations if o.peak_mib is not None]
    return Rate(
        start_s=mean(o.seconds - o.busy_s for o in observations),
        per_token_s=sum(o.busy_s for o in observations) / tokens if tokens else 0.0,
        tokens=tokens / items if items else 0.0,
        stage_tokens=tokens / len(observations),
        peak_mib=max(peaks) if peaks else None,
    )


def estimate_seconds(work: Workload, rate: Rate) -> float:
    """Return the predicted seconds of a stage."""
    return rate.start_s + (work.generated or work.trained or rate.stage_tokens) * rate.per_token_s


def _json(path: Path) -> JsonDict:
    return _parse(path, path.read_text(encoding="utf-8")) if path.exists() else {}


def _parse(path: Path, text: str) -> JsonDict:
    try:
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise BrokenRun(
            f"{path} is damaged ({error}); delete {path.parent} to run the stage again"
        ) from error
    return content


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
