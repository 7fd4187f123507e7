"""The memory of every stage of a plan: kinds of bytes against what a GPU, or this machine, has. See grpo/memory/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from grpo.common.errors import ConfigError
from grpo.common.hardware import resolve_compute_dtype
from grpo.config.plan import MachineConfig
from grpo.graph.parse import Node
from grpo.memory.demand import Demand, Machine, RunShape, demands
from grpo.memory.fit import SURE, advice, describe
from grpo.memory.launch import this_machine
from grpo.memory.model import GIB, KINDS
from grpo.memory.shape import run_shape
from policies.json_types import JsonMapping

PLACES = {
    "GPU of a rank": "rank",
    "GPU of an engine": "engine",
    "GPU of an engine and a rank": "both",
    "this machine": "all",
}
"""How a place is called in the table."""
ENGINE_KINDS = ("engine weights", "cache", "sleeping engine", "Ray and driver")


@dataclass(frozen=True)
class StageMemory:
    """The demands of a stage's ranks and engines on one machine."""

    shape: RunShape
    machine: Machine
    demands: tuple[Demand, ...]


def machine_of(config: MachineConfig | None) -> Machine:
    """Return the machine of a plan: the recipe's cluster, or this one."""
    if config is None:
        return this_machine()
    return Machine(config.gpus, config.memory_gib * GIB, config.name)


def stage_memory(node: Node, policy: JsonMapping | None, machine: Machine) -> StageMemory | None:
    """Return the memory of a stage; None if its policy is not known, or it has neither ranks nor engines.

    Raises:
        ConfigError: the mesh does not fit the policy, or the stage has more ranks than the cluster has GPUs.
    """
    if policy is None:
        return None
    wanted = getattr(getattr(node.config, "policy", None), "compute_dtype", "auto")
    dtype = resolve_compute_dtype(wanted, policy["hidden_size"], on_gpu=machine.gpus > 0)
    prompt = int(node.settings.plan.prompt_tokens)
    device = "cuda" if machine.gpus else "cpu"
    try:
        shape = run_shape(node.config, policy, dtype=dtype, device=device, prompt_tokens=prompt)
        if shape is None:
            return None
        return StageMemory(shape, machine, tuple(demands(shape, machine)))
    except (ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise ConfigError(f"stage {node.name}: {error}") from error
        return None


def memory_table(stages: Mapping[str, StageMemory]) -> Table:
    """Return a table of GiB: a column for each stage's places, a row for each kind, and the sum against the limit."""
    columns = [(name, demand) for name, stage in stages.items() for demand in stage.demands]
    used = [k for k in (*KINDS, *ENGINE_KINDS) if any(d.kinds.get(k) for _, d in columns)]
    table = Table(title="memory in GiB", title_justify="left")
    for head in ("stage", "on", "worst at"):
        table.add_column(head, no_wrap=head == "stage", overflow="fold")
    for kind in (*used, "sum", "of", ""):
        table.add_column(kind, justify="right", overflow="fold")
    for name, demand in columns:
        cells = [f"{demand.kinds[k] / GIB:,.1f}" if demand.kinds.get(k) else "–" for k in used]
        total, limit = f"{demand.bytes / GIB:,.1f}", f"{demand.limit / GIB:,.1f}"
        table.add_row(name, PLACES[demand.place], demand.moment, *cells, total, limit, verdict(demand))
    return table


def verdict(demand: Demand) -> str:
    """Return "fits", "short" within the model's error, or "too large"."""
    if demand.bytes <= demand.limit:
        return "fits"
    return "short" if SURE * demand.bytes <= demand.limit else "too large"


def advice_lines(stages: Mapping[str, StageMemory]) -> list[str]:
    """Return a line for each stage that does not fit: what is too large, and what to change."""
    found = []
    for name, stage in stages.items():
        worst = max(stage.demands, key=lambda d: d.bytes / d.limit)
        if worst.bytes > worst.limit:
            found.append(f"{name}: {describe(worst, stage.machine)}; {advice(stage.shape, stage.machine)}")
    return found
