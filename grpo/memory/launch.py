"""The memory of a run against the machine that it is about to start on: before an actor starts, and with --dry-run.

check_memory(config, model_dir, dtype, address, prompts)     ConfigError, or a line on the memory that is needed
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from grpo.common import host, nvidia
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.hardware import has_gpu
from grpo.memory.demand import Machine
from grpo.memory.fit import describe, problem, warning, worst
from grpo.memory.shape import run_shape
from policies.facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

    from rollout.types import Prompt

MIB = 2**20


def check_memory(
    config: BaseModel,
    model_dir: Path,
    dtype: str,
    address: str | None,
    prompts: Sequence[Prompt] = (),
) -> None:
    """Refuse a run that cannot fit this machine, and say how much one needs that may.

    A run on a cluster that stands already is not judged: this machine's memory is not the cluster's.

    Args:
        config: of the stage.
        model_dir: the policy's folder.
        dtype: the learner's compute dtype, resolved.
        address: of the Ray cluster, as in `grpo.cluster.ray_session.connect`.
        prompts: to sample from; the longest one counts.

    Raises:
        ConfigError: names what is too large, and the cheapest keys to change with what they save.
    """
    if (address or os.environ.get("RAY_ADDRESS") or "local") != "local":
        return
    machine = this_machine()
    policy = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    device = "cuda" if machine.gpus else "cpu"
    longest = max((len(prompt.token_ids) for prompt in prompts), default=0)
    layers = read_facts(model_dir, need_tokenizer=False).mtp_layers
    shape = run_shape(config, policy, dtype=dtype, device=device, prompt_tokens=longest, mtp_layers=layers)
    if shape is None:
        return
    found = problem(shape, machine)
    if found is not None:
        raise ConfigError(f"the run cannot fit: {found}")
    note = warning(shape, machine)
    say(f"  {escape(note)}" if note else f"  memory: {escape(describe(worst(shape, machine), machine))}")


def this_machine() -> Machine:
    """Return this machine's GPUs, counted by the smallest, or its memory where it has none that answers."""
    try:
        gpus = nvidia.query() if has_gpu() else []
    except nvidia.QueryError:
        gpus = []
    sizes = [int(match[1]) * MIB for gpu in gpus if (match := re.match(r"(\d+) MiB", gpu.memory))]
    if sizes:
        smallest = min(range(len(sizes)), key=sizes.__getitem__)
        return Machine(len(sizes), float(sizes[smallest]), gpus[smallest].name)
    return Machine(0, float(host.memory_limit()), "this machine")
