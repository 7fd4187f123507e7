"""What a graph would stumble over hours later, found before its first stage runs. Starts nothing, loads no model.

Files and rewards that do not exist, and policies that this machine's engine cannot compute. What needs nothing but the
recipe, `grpo.graph.parse` has found before.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_recipes.config import source_kind
from grpo.common.errors import ConfigError
from grpo.common.hardware import has_gpu
from grpo.graph.parse import Graph, Node
from grpo.graph.policies import KnownPolicy, known_policies
from grpo.graph.policy_checks import policy_errors
from grpo.graph.references import leaves
from rewards.errors import RewardLoadError
from rewards.registry import origin
from rollout.config import EngineConfig
from rollout.engine_limits import cpu_refusal, draft_refusal, split_refusal


def check_inputs(graph: Graph, planned: bool = False) -> None:
    """Check every stage of a graph.

    Args:
        graph: the graph.
        planned: nothing will start here: a recipe with a `[plan.machine]` is checked for that machine, not this one.

    Raises:
        ConfigError: lists every error, by stage.
    """
    errors = [error for node in graph.nodes.values() for error in _missing(graph, node)]
    is_elsewhere = planned and graph.recipe.plan.machine is not None
    with tempfile.TemporaryDirectory() as place:
        policies = known_policies(graph, Path(place))
        errors += _refusals(graph, policies, on_cpu=not (has_gpu() or is_elsewhere))
        errors += policy_errors(graph, policies)
    if errors:
        raise ConfigError("\n".join(errors))


def _missing(graph: Graph, node: Node) -> Iterator[str]:
    """Yield the files and rewards that the stage names and that no stage makes."""
    for value, key in leaves(node.config.model_dump(mode="json")):
        if not isinstance(value, str) or not value or Path(value).is_relative_to(graph.run_dir):
            continue
        pattern = next((p for p in node.stage.inputs if fnmatch.fnmatchcase(key, p)), None)
        if pattern is None:
            continue
        where = f"{graph.name}, stage {node.name}: {key} = {value!r}"
        if pattern.startswith("rewards.") and pattern.endswith(".name"):
            try:
                origin(value)
            except RewardLoadError as error:
                yield f"{where}: {error}"
        elif pattern == "policy.lora.adapter":
            if not Path(value).expanduser().is_dir():
                yield f"{where}: no such folder, and no stage makes it"
        elif pattern == "policy.model":
            if value.startswith(("/", ".", "~")) and not Path(value).expanduser().is_dir():
                yield f"{where}: no such folder"
        elif (
            pattern.endswith(("source", "sources.*"))
            and source_kind(value) == "file"
            and not Path(value).expanduser().exists()
        ):
            yield f"{where}: no such file or folder, and no stage makes it"


def _refusals(graph: Graph, policies: Mapping[str, KnownPolicy], on_cpu: bool) -> Iterator[str]:
    """Yield each policy that a stage's engine cannot split over its GPUs, or compute on this machine's CPU, once."""
    reported: set[str] = set()
    for node in graph.nodes.values():
        known, engine = policies.get(node.name), getattr(node.config, "engine", None)
        if known is not None and isinstance(engine, EngineConfig) and known.maker not in reported:
            refusal = split_refusal(known.config, engine.tensor_parallel, engine.expert_parallel)
            refusal = refusal or draft_refusal(known.config, engine.mtp_tokens)
            if on_cpu:
                refusal = refusal or cpu_refusal(known.config, engine.expert_parallel, engine.mtp_tokens)
            if refusal is not None:
                reported.add(known.maker)
                yield f"{graph.name}, {known.maker}, from which stage {node.name} samples: {refusal}"
