"""`grpo plan` for the recipe of one stage: a graph of that stage alone.

single("r1-rl", ["plan.tokens=8000", "plan.machine.gpus=64"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from grpo.common.config_io import check, parse_override, read_recipe, set_key
from grpo.common.errors import ConfigError
from grpo.config.plan import Alone, PlanConfig, StagePlan
from grpo.graph.config import GraphRecipe, GraphSettings, StageSettings
from grpo.graph.parse import Graph, Node
from grpo.stages.registry import STAGES
from policies.json_types import JsonDict


def single(recipe: str, overrides: Sequence[str] = ()) -> tuple[Graph, str]:
    """Return the graph of a stage's recipe, and a line on what it assumes; "" for nothing.

    Args:
        recipe: TOML file or shipped name.
        overrides: of the recipe's keys; "plan.machine.…" describes a cluster, "plan.…" what the config does not state.

    Raises:
        ConfigError: the recipe, or an override, is wrong.
    """
    name, _, tree = read_recipe(recipe)
    command = str(tree.get("stage"))
    if command not in STAGES:
        raise ConfigError(
            f'{name}: add stage = "…", one of {", ".join(STAGES)}, or sections [graph] and [stages.…]'
        )
    stage = STAGES[command]
    planned: JsonDict = {}
    own = []
    for override in overrides:
        key, value = parse_override(override)
        if key[0] == "plan":
            set_key(planned, key, value)
        else:
            own.append(override)
    config = stage.load(recipe, own)
    alone = check(Alone, planned, "--set").plan
    plan, note = StagePlan(**alone.model_dump(exclude={"machine"})), ""
    limit = getattr(getattr(config, "sampling", None), "max_tokens", None)
    if plan.tokens is None and not plan.lengths and limit is not None:
        plan = plan.model_copy(update={"tokens": float(limit)})
        note = f"as if each completion had sampling.max_tokens = {limit:,} tokens; --set plan.tokens=… is their mean"
    settings = StageSettings(command=command, plan=plan)
    place = Path(getattr(config, stage.output_key))
    folder = place if stage.output_key == "run_dir" else place.parent
    title = Path(name).name.removesuffix(".toml")
    node = Node(title, command, stage, config, folder, (), settings)
    seed = getattr(config, "seed", 0)
    whole = GraphRecipe(
        graph=GraphSettings(run_dir=folder, seed=seed),
        plan=PlanConfig(machine=alone.machine),
        stages={title: settings},
    )
    return Graph(title, folder, seed, {title: node}, whole), note
