"""Writes the tiny twin of a recipe for GPUs: the same keys with values that fit two CPU cores.

    python scripts/recipe_twin.py gpu-8 --policy runs/tiny-base/policy --out twins      # twins/gpu-8.toml
    grpo rl twins/gpu-8.toml

What the recipe switches on (adapters, recomputation, bfloat16 moments, KL, ranks, a context axis, several engines) is
on in the twin. Values of `SMALL` are smaller. A data section is another one whole, since its keys follow from its
source; what a CPU refuses (`ON_A_GPU`) has the value that it takes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any  # values of a recipe

from grpo.graph.parse import load_graph

DATA = {"source": "chain", "template": "r1-zero", "params": {"count": 64}}
HELD_OUT = {"source": "chain", "split": "held-out", "template": "r1-zero", "params": {"count": 8}}
SMALL: dict[str, Any] = {
    "steps": 2,
    "algorithm.group_size": 4,
    "algorithm.questions_per_step": 4,
    "algorithm.mini_batches": 2,
    "sampling.max_tokens": 24,
    "eval.samples": 2,
    "learner.tokens_per_micro_batch": 256,
    "learner.logit_chunk_tokens": 64,
    "engine.max_model_len": 256,
    "engine.chunk_groups": 4,
    "policy.lora.rank": 4,
    "checkpoint.every_phases": 1,
}
"""Used where the recipe has the key."""
AT_MOST = {"learner.ranks": 2, "engine.workers": 2, "learner.mesh.context": 2, "learner.mesh.expert": 2}
ON_A_GPU: dict[str, Any] = {
    "engine.tensor_parallel": 1,
    "engine.nodes": 1,
    "engine.expert_parallel": False,
    "engine.gpu_memory_share": 0.4,
}


def twin(name: str, policy: Path, run_dir: Path) -> dict[str, Any]:
    """Return the twin of the recipe's stage that trains, as nested sections.

    Raises:
        StopIteration: no stage of the recipe has learner ranks.
    """
    node = next(n for n in load_graph(name).nodes.values() if hasattr(n.config, "learner"))
    found: dict[str, Any] = node.config.model_dump(mode="json", exclude_unset=True)
    for key, value in leaves(found):
        if key in SMALL or key in ON_A_GPU:
            put(found, key, SMALL.get(key, ON_A_GPU.get(key)))
        elif key in AT_MOST:
            put(found, key, min(AT_MOST[key], value))
    # Rewards for some kinds of rows need rows of the first reward's.
    kind = next((r["kinds"][0] for r in found.get("rewards", []) if r.get("kinds")), None)
    kinds = {"constants": {"kind": kind}} if kind else {}
    found |= {"run_dir": str(run_dir), "data": DATA | kinds}
    found["policy"] |= {"model": str(policy)}
    if "data" in found.get("eval", {}):
        found["eval"]["data"] = HELD_OUT | kinds
    return found


def leaves(section: dict[str, Any], at: str = "") -> list[tuple[str, Any]]:
    """Return the keys of a recipe with their sections, "learner.mesh.expert", and their values."""
    found: list[tuple[str, Any]] = []
    for key, value in section.items():
        if isinstance(value, dict):
            found += leaves(value, f"{at}{key}.")
        else:
            found.append((f"{at}{key}", value))
    return found


def put(section: dict[str, Any], key: str, value: Any) -> None:
    """Set a key with its sections."""
    *outer, last = key.split(".")
    for name in outer:
        section = section[name]
    section[last] = value


def toml(value: Any) -> str:
    """Return a value as TOML: tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {toml(v)}" for k, v in value.items() if v is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--policy", type=Path, required=True, help="a tiny policy's folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the twin and of its run")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / f"{args.recipe}.toml"
    found = twin(args.recipe, args.policy.absolute(), args.out.absolute() / args.recipe)
    file.write_text(
        "".join(f"{k} = {toml(v)}\n" for k, v in found.items() if v is not None), encoding="utf-8"
    )
    print(file)


if __name__ == "__main__":
    main()
