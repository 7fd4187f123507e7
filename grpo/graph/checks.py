"""What a graph would stumble over hours later, found before its first stage runs. Starts nothing, loads no model.

Files and rewards that do not exist, and policies that this machine's engine cannot compute. What needs nothing but the
recipe, `grpo.graph.parse` has found before.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from pathlib import Path

from data_recipes.config import source_kind
from grpo.common.errors import ConfigError
from grpo.common.hardware import has_gpu
from grpo.graph.parse import Graph, Node
from grpo.graph.references import leaves
from policies.json_types import JsonMapping
from rewards.errors import RewardLoadError
from rewards.registry import origin
from rollout.config import EngineConfig
from rollout.engine_limits import cpu_refusal, split_refusal


def check_inputs(graph: Graph) -> None:
    """Check every stage of a graph.

    Raises:
        ConfigError: lists every error, by stage.
    """
    errors = [error for node in graph.nodes.values() for error in _missing(graph, node)]
    errors += _refusals(graph, on_cpu=not has_gpu())
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
        elif pattern == "policy.model":
            if value.startswith(("/", ".", "~")) and not Path(value).expanduser().is_dir():
                yield f"{where}: no such folder"
        elif (
            pattern.endswith(("source", "sources.*"))
            and source_kind(value) == "file"
            and not Path(value).expanduser().exists()
        ):
            yield f"{where}: no such file or folder, and no stage makes it"


def _refusals(graph: Graph, on_cpu: bool) -> Iterator[str]:
    """Yield each policy that a stage's engine cannot split over its GPUs, or compute on this machine's CPU, once."""
    policies: dict[str, tuple[JsonMapping, str]] = {}
    reported: set[str] = set()
    for node in graph.nodes.values():
        parent = next((need.stage for need in node.needs if need.key == "policy.model"), None)
        found = _shape(node) if parent is None else policies.get(parent)
        if found is None:
            continue
        policies[node.name] = found
        shape, maker = found
        engine = getattr(node.config, "engine", None)
        if isinstance(engine, EngineConfig) and maker not in reported:
            refusal = split_refusal(shape, engine.tensor_parallel, engine.expert_parallel)
            if on_cpu:
                refusal = refusal or cpu_refusal(shape, engine.expert_parallel)
            if refusal is not None:
                reported.add(maker)
                yield f"{graph.name}, {maker}, from which stage {node.name} samples: {refusal}"


def _shape(node: Node) -> tuple[JsonMapping, str] | None:
    """Return the transformers config of the policy that a stage makes or starts from, and its name; None if unknown."""
    if node.stage.new_policy is not None:
        return node.stage.new_policy(node.config), f"the policy of stage {node.name}"
    model = getattr(getattr(node.config, "policy", None), "model", None)
    path = Path(model).expanduser() / "config.json" if model else None
    if path is None or not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8")), f"policy.model = {model!r}"
