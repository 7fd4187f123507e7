"""The table of docs/scale.md: memory of a rank and an engine for four users, written out with its arithmetic.

python -m grpo.plan.scale_table        prints it; tests/grpo/plan/test_scale_page.py keeps the page equal to it
"""

from __future__ import annotations

from collections.abc import Iterator

from grpo.graph.parse import load_graph
from grpo.memory.demand import Demand, RunShape, engine_weights
from grpo.memory.model import GIB, RankMemory, rank_memory
from grpo.plan.plan import cluster_plan

USERS = (
    ("A", "gpu-1-lora"),
    ("A", "gpu-1-full"),
    ("B", "gpu-8"),
    ("C", "gpu-32-dense"),
    ("C", "gpu-32-moe"),
    ("D", "gpu-256"),
)
HEADS = ("", "recipe", "policy", "GPUs", "held on a GPU", "update", "sampling", "of")


def lines() -> Iterator[str]:
    """Yield the table in Markdown, and below it a line of arithmetic for each recipe."""
    sums = []
    yield f"| {' | '.join(HEADS)} |"
    yield "|" + "--|" * len(HEADS)
    for user, name in USERS:
        shape, machine_gpus, limit, worst = _planned(name)
        assert shape.rank is not None
        memory = rank_memory(shape.rank)
        total = shape.rank.learner.ranks // shape.rank.learner.mesh.replicate
        update = memory.total("update")
        sampling = sum(memory.kinds["update"][k] for k in ("process", "weights", "moments"))
        cells = (
            user, f"`{name}`", f"{memory.elements * total / 1e9:.1f} B", str(machine_gpus),
            f"{memory.elements / 1e9:.2f} B", f"{update / GIB:.1f}",
            f"{(sampling + engine_weights(shape)) / GIB:.1f} + cache", f"{limit / GIB:.0f} GiB",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
        sums.append(f"- `{name}`: {arithmetic(memory)} GiB at an update; worst at {worst.moment} with "
                    f"{worst.bytes / GIB:.1f} GiB")  # fmt: skip
    yield ""
    yield from sums


def arithmetic(memory: RankMemory) -> str:
    """Return the kinds of an update as a sum: "5.8 weights + 5.8 gradients + … = 22.3"."""
    kinds = [(kind, size / GIB) for kind, size in memory.kinds["update"].items() if size >= 0.05 * GIB]
    total = f"{memory.total('update') / GIB:.1f}"
    return " + ".join(f"{size:.1f} {kind}" for kind, size in kinds) + f" = {total}"


def _planned(name: str) -> tuple[RunShape, int, float, Demand]:
    graph = load_graph(name)
    machine = graph.recipe.plan.machine
    assert machine is not None
    (line,) = cluster_plan(graph, machine)
    assert line.memory is not None
    worst = max(line.memory.demands, key=lambda demand: demand.bytes / demand.limit)
    return line.memory.shape, machine.gpus, machine.memory_gib * GIB, worst


if __name__ == "__main__":
    print("\n".join(lines()))
