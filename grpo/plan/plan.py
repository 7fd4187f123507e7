"""`grpo plan`: what a graph will take, before it runs: sizes, steps, tokens, memory, time.

With a `[plan.machine]` in the recipe it estimates GPU-hours on that cluster, from sizes and printed assumptions, and
compares them with published figures. Without, it predicts times on this machine from stages that ran on it (--rates),
and compares them with the stages of this recipe that are done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from grpo.common.errors import ConfigError
from grpo.config.plan import MachineConfig
from grpo.graph.parse import Graph, Node
from grpo.plan.estimate import Estimate, estimate, workload
from grpo.plan.memory import StageMemory, advice_lines, machine_of, memory_table, stage_memory
from grpo.plan.rates import Observation, Rates, estimate_seconds, observe, rates
from grpo.stages.workload import Workload
from policies.json_types import JsonDict
from policies.sizes import CONFIGS, PolicySize, policy_size

console = Console(width=max(Console().width, 150))


@dataclass(frozen=True)
class Line:
    """The line of the plan for one stage."""

    node: Node
    size: PolicySize | None
    work: Workload
    estimate: Estimate | None = None
    """Time on the recipe's cluster."""
    memory: StageMemory | None = None
    """What each GPU, or this machine, has to hold; None without a known policy, or without ranks and engines."""
    seconds: float | None = None
    """Predicted time on this machine."""
    peak_mib: float | None = None
    measured: Observation | None = None


def run(graph: Graph, rates_from: Path | None) -> list[Line]:
    """Print the plan; returns its lines.

    Raises:
        ConfigError: `rates_from` holds no finished stage.
    """
    machine = graph.recipe.plan.machine
    if machine is not None:
        lines = cluster_plan(graph, machine)
        console.print(cluster_table(graph, lines, machine))
        show_memory(lines)
        for text in conclusions(lines, machine):
            console.print(text, highlight=False)
        return lines
    known = read_rates(rates_from)
    lines = local_plan(graph, known)
    console.print(local_table(graph, lines))
    show_memory(lines)
    for text in local_conclusions(lines, rates_from, graph.run_dir):
        console.print(text, highlight=False)
    return lines


def show_memory(lines: Sequence[Line]) -> None:
    """Print the memory of every stage by kind, and what to change where it does not fit."""
    known = {line.node.name: line.memory for line in lines if line.memory is not None}
    if not known:
        return
    console.print(memory_table(known))
    for text in advice_lines(known):
        console.print(text, highlight=False)


def policies(graph: Graph) -> dict[str, JsonDict | None]:
    """Return the config of every stage's policy, as far as it is known without loading or downloading it."""
    found: dict[str, JsonDict | None] = {}
    for node in graph.nodes.values():
        parent = next((r.stage for r in node.needs if r.key == "policy.model"), None)
        if parent is not None:
            found[node.name] = found[parent]
        elif node.stage.new_policy is not None:
            found[node.name] = _read_config(node.folder / "policy") or dict(
                node.stage.new_policy(node.config)
            )
        else:
            model = getattr(getattr(node.config, "policy", None), "model", None)
            found[node.name] = None if model is None else CONFIGS.get(model) or _read_config(Path(model))
    return found


def cluster_plan(graph: Graph, machine: MachineConfig) -> list[Line]:
    """Estimate every stage on the recipe's cluster.

    Raises:
        ConfigError: the plan of a stage contradicts itself, or its policy does not fit.
    """
    policy_of, here = policies(graph), machine_of(machine)
    lines = []
    for node in graph.nodes.values():
        policy, work = policy_of[node.name], workload(node)
        size = _size(policy)
        known = size is not None and (work.phases or work.trained)
        try:
            found = estimate(work, size, machine) if size and known else None
        except ValueError as error:
            raise ConfigError(f"stage {node.name}: {error}") from error
        lines.append(Line(node, size, work, found, stage_memory(node, policy, here)))
    return lines


def local_plan(graph: Graph, known: Rates) -> list[Line]:
    """Predict times on this machine, beside what finished stages of this recipe took."""
    policy_of, here = policies(graph), machine_of(None)
    lines = []
    for node in graph.nodes.values():
        policy = policy_of[node.name]
        rate = known.of(node.name, node.command)
        work = workload(node, rate.tokens if rate else None)
        lines.append(
            Line(
                node,
                _size(policy),
                work,
                memory=stage_memory(node, policy, here),
                seconds=estimate_seconds(work, rate) if rate else None,
                peak_mib=rate.peak_mib if rate else None,
                measured=observe(node.folder),
            )
        )
    return lines


def read_rates(folder: Path | None) -> Rates:
    """Return the rates of the finished stages in a graph's run directory.

    Raises:
        ConfigError: no stage is finished there.
    """
    if folder is None:
        return rates({})
    paths = sorted(path.parent for path in folder.glob("*/node.json"))
    found = {path.name: seen for path in paths if (seen := observe(path)) is not None}
    if not found:
        raise ConfigError(
            f"--rates {folder}: no finished stage there; run a small graph on this machine first"
        )
    return rates(found)


def cluster_table(graph: Graph, lines: Sequence[Line], machine: MachineConfig) -> Table:
    """Return the table of a plan for a cluster."""
    table = Table(title=f"{graph.name} on {machine.gpus} {machine.name}", title_justify="left")
    heads = ("updates", "samples", "generated", "trained")
    for head in ("stage", "grpo", "policy"):
        table.add_column(head, no_wrap=True)
    for head in (*heads, "rollout h", "learner h", "GPU-hours"):
        table.add_column(head, justify="right")
    for line in lines:
        work, e = line.work, line.estimate
        times = [_number(s / 3600, 1) for s in (e.rollout_s, e.logprob_s + e.train_s)] if e else ["–"] * 2
        table.add_row(
            line.node.name, line.node.command, _billions(line.size), _number(work.steps), _short(work.samples),
            _short(work.generated), _short(work.trained), *times,
            _number(e.gpu_hours(machine)) if e else "–",
        )  # fmt: skip
    return table


def conclusions(lines: Sequence[Line], machine: MachineConfig) -> list[str]:
    """Return lines with the sum, the comparison with published figures, and the assumptions."""
    total = sum(line.estimate.gpu_hours(machine) for line in lines if line.estimate)
    found = [f"all stages: {total:,.0f} GPU-hours, {total / machine.gpus:,.0f} hours of the cluster"]
    for line in lines:
        published = line.node.settings.plan.published_gpu_hours
        if published is not None and line.estimate is not None:
            hours = line.estimate.gpu_hours(machine)
            found.append(
                f"{line.node.name}: {hours:,.0f} GPU-hours estimated, {published:,.0f} published: "
                f"error {hours / published - 1:+.0%}"
            )
    blank = [line.node.name for line in lines if line.estimate is None]
    if blank:
        found.append(f"without an estimate (no GPU, or the recipe does not say how much): {', '.join(blank)}")
    assumed = ", ".join(f"{k} {v}" for k, v in machine.model_dump().items() if k not in ("name", "gpus"))
    found.append(
        f"assumptions: {assumed}; weights and cache in bfloat16; lengths exponential, cut at the limit; a phase waits "
        "for its longest sample; rewards and sandbox cost nothing beside; mean lengths from the stages' plan sections"
    )
    return found


def local_table(graph: Graph, lines: Sequence[Line]) -> Table:
    """Return the table of a plan for this machine."""
    table = Table(title=f"{graph.name} on this machine", title_justify="left")
    for head in ("stage", "grpo", "policy"):
        table.add_column(head, no_wrap=True)
    for head in ("updates", "prompts", "samples", "tokens", "predicted s", "measured s", "error",
                 "predicted MiB", "measured MiB"):  # fmt: skip
        table.add_column(head, justify="right")
    for line in lines:
        work, measured = line.work, line.measured
        error = line.seconds / measured.seconds - 1 if line.seconds and measured else None
        table.add_row(
            line.node.name, line.node.command, _billions(line.size), _number(work.steps), _number(work.prompts),
            _short(work.samples), _short(work.generated or work.trained), _number(line.seconds, 1),
            _number(measured.seconds if measured else None, 1), "–" if error is None else f"{error:+.0%}",
            _number(line.peak_mib), _number(measured.peak_mib if measured else None),
        )  # fmt: skip
    return table


def local_conclusions(lines: Sequence[Line], rates_from: Path | None, run_dir: Path) -> list[str]:
    """Return lines with the sums and where the figures come from."""
    if rates_from is None:
        return [
            "no times: give the run directory of a graph that this machine has run, --rates runs/…; the rates of its "
            "stages (start, seconds per token, memory) predict this recipe's"
        ]
    known = [line for line in lines if line.seconds is not None]
    found = [
        f"predicted: {sum(line.seconds or 0 for line in known) / 60:.1f} minutes for {len(known)} of {len(lines)} "
        f"stages, rates from {rates_from}"
    ]
    if rates_from.resolve() == run_dir.resolve():
        return [*found, "the rates are this run's own, so that predicted and measured must agree"]
    both = [(line.seconds, line.measured.seconds) for line in known if line.seconds and line.measured]
    if both:
        predicted, measured = (sum(values) for values in zip(*both, strict=True))
        found.append(
            f"of {len(both)} finished stages: {predicted / 60:.1f} minutes predicted, {measured / 60:.1f} "
            f"measured: error {predicted / measured - 1:+.0%}"
        )
    peaks = [
        (line.peak_mib, line.measured.peak_mib)
        for line in known
        if line.peak_mib and line.measured and line.measured.peak_mib
    ]
    if peaks:
        predicted, measured = (max(values) for values in zip(*peaks, strict=True))
        found.append(f"peak memory: {predicted:,.0f} MiB predicted, {measured:,.0f} measured")
    return found


def _read_config(folder: Path) -> JsonDict | None:
    path = folder / "config.json"
    if not path.exists():
        return None
    config: JsonDict = json.loads(path.read_text(encoding="utf-8"))
    return config


def _size(policy: JsonDict | None) -> PolicySize | None:
    try:
        return None if policy is None else policy_size(policy)
    except (KeyError, ValueError):
        return None


def _billions(size: PolicySize | None) -> str:
    if size is None:
        return "–"
    if size.total < 1e8:
        return f"{size.total / 1e6:.2f} M"
    routed = f", {size.active / 1e9:.0f} B active" if size.experts else ""
    return f"{size.total / 1e9:.{0 if size.total > 2e10 else 1}f} B{routed}"


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _short(value: float | None) -> str:
    """Format as 1.2 K, 3.4 M, 5.6 B."""
    if not value:
        return "–"
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "K")):
        if value >= limit:
            return f"{value / (limit if unit != 'K' else 1e3):.1f} {unit}"
    return f"{value:,.0f}"
