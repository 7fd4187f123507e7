"""The tiny twin of a recipe for GPUs has the recipe's keys, and values that this machine can run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from grpo.common.config_io import shipped_recipes
from grpo.config.mesh import check_mesh, mesh_of
from grpo.config.rl import RlConfig
from grpo.graph.parse import load_graph
from policies.presets import tiny_config
from tests.scripts.load import load

TWINS: Any = load("recipe_twin")


def without_data(keys: Any) -> set[str]:
    return {key for key, _ in keys if not re.match(r"(eval\.)?data\.", key)}


@pytest.mark.parametrize("name", sorted(n for n in shipped_recipes() if re.match(r"gpu-\d", n)))
def test_a_twin_has_the_recipes_keys_and_fits_two_cores(name: str, tmp_path: Path) -> None:
    found = TWINS.twin(name, tmp_path / "policy", tmp_path / "run")
    (node,) = (n for n in load_graph(name).nodes.values() if hasattr(n.config, "learner"))
    recipe = node.config.model_dump(mode="json", exclude_unset=True)
    assert without_data(TWINS.leaves(found)) == without_data(TWINS.leaves(recipe))
    text = "".join(f"{k} = {TWINS.toml(v)}\n" for k, v in found.items() if v is not None)
    config = RlConfig.model_validate(tomllib.loads(text))
    assert config.learner.ranks <= 2
    assert config.engine.workers * config.engine.tensor_parallel <= 2
    assert config.learner.recompute == node.config.learner.recompute
    assert (config.policy.lora is None) == (node.config.policy.lora is None)
    assert config.optimizer == node.config.optimizer
    for axis in ("context", "expert"):
        assert (getattr(config.learner.mesh, axis) > 1) == (getattr(node.config.learner.mesh, axis) > 1)
    check_mesh(mesh_of(config.learner), tiny_config("tiny-v3", 48).to_dict())
