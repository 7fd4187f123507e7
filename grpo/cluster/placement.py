"""Where engines and learner ranks run: which GPU of which node, and how many threads. Arithmetic alone, no Ray.

    plan_placement(nodes, learner, engine)      groups of GPUs to reserve, and the seat of every actor in them

On GPUs an engine has `engine.tensor_parallel` seats, a rank has one, and a GPU never holds two engines or two ranks
(NCCL refuses two ranks on one GPU, and two engines would race for its memory):

    disaggregated       every actor has a GPU of its own
    colocated           ranks sit on the engines' GPUs and take turns with them; the engine sleeps while they train
    auto                disaggregated where the GPUs suffice, else colocated

On a cluster without GPUs actors go where Ray puts them; "disaggregated" keeps engines and ranks on different nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from grpo.common.errors import RunError
from grpo.config.sections import LearnerConfig
from rollout.config import SHARE_ALONE, SHARE_BESIDE_LEARNER, EngineConfig

PlacementMode = Literal["auto", "colocated", "disaggregated"]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, as Ray reports it."""

    id: str
    cores: int
    gpus: int = 0
    gpu_type: str = ""
    """Ray's name of the accelerator, e.g. "H100"; "" where Ray knows none."""


@dataclass(frozen=True)
class Group:
    """GPUs of one node that are reserved together (a STRICT_PACK placement group, one bundle per GPU)."""

    node: int
    """Index of the node."""
    gpus: int


@dataclass(frozen=True)
class Seat:
    """What one actor asks Ray for."""

    group: int | None = None
    """Index of its group; None: no GPU is reserved."""
    bundle: int = 0
    """The GPU in the group."""
    gpus: float = 0.0
    """Part of that GPU: 1, or 1/2 where an engine and a rank take turns."""
    node: int | None = None
    """Index of the node to prefer, for an actor without a GPU; None: any."""


@dataclass(frozen=True)
class Placement:
    """The seats of all actors of a run."""

    groups: tuple[Group, ...]
    engines: tuple[tuple[Seat, ...], ...]
    """One seat for each of an engine's GPUs."""
    ranks: tuple[Seat, ...]
    """Rank 0 first; ranks on one node have neighbouring numbers."""
    takes_turns: bool
    """Engines and ranks share GPUs or cores, so that an engine frees memory while ranks train."""
    gpu_memory_share: float
    """For the engines; see `EngineConfig`."""
    rollout_threads: int
    learner_threads: int


def plan_placement(
    nodes: Sequence[Node],
    learner: LearnerConfig | None,
    engine: EngineConfig | None,
    mode: PlacementMode = "auto",
) -> Placement:
    """Give every engine and every learner rank its seat.

    Args:
        nodes: of the cluster, at least one; the numbers of the ranks follow their order.
        learner: ranks and threads; None where nothing is trained.
        engine: workers, tensor_parallel, nodes, threads and gpu_memory_share; None where nothing is sampled.
        mode: the recipe's `placement`; without a learner or an engine it has no effect.

    Raises:
        RunError: the actors do not fit the cluster; names the keys to change.
    """
    if not any(node.gpus for node in nodes):
        return _on_cpus(nodes, learner, engine, mode)
    _refuse_mixed(nodes)
    if learner and learner.ranks > (total := _total(nodes)):
        raise RunError(
            f"learner.ranks = {learner.ranks}, but the cluster has {total} GPU(s), and two ranks cannot share one "
            f"(NCCL); set learner.ranks to {total} or less"
        )
    seats = _Seats(nodes)
    engines = seats.place_engines(engine) if engine else ()
    ranks: tuple[Seat, ...] = ()
    if learner:
        shared = mode == "colocated" or (mode == "auto" and sum(seats.free) < learner.ranks)
        if not shared and sum(seats.free) < learner.ranks:
            raise RunError(_too_few(engine, learner.ranks, _total(nodes)))
        ranks = seats.place_ranks(learner.ranks, engines if shared else ())
    beside = {(seat.group, seat.bundle) for seat in ranks}
    taken = {(seat.group, seat.bundle) for own in engines for seat in own}
    return Placement(
        groups=tuple(seats.groups),
        engines=tuple(tuple(_halved(seat, beside) for seat in own) for own in engines),
        ranks=tuple(_halved(seat, taken) for seat in ranks),
        takes_turns=bool(beside & taken),
        gpu_memory_share=_memory_share(engine, bool(beside & taken)),
        rollout_threads=_threads(nodes, engine.threads if engine else None, seats.on_one_node(engines)),
        learner_threads=_threads(nodes, learner.threads if learner else None, seats.on_one_node([ranks])),
    )


class _Seats:
    """The GPUs that are still free, and the groups made so far."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self.free = [node.gpus for node in nodes]
        self.groups: list[Group] = []

    def place_engines(self, engine: EngineConfig) -> tuple[tuple[Seat, ...], ...]:
        """Seat all engines, each in equal parts on `engine.nodes` nodes.

        Raises:
            RunError: they do not fit.
        """
        part = engine.tensor_parallel // engine.nodes
        largest = max(node.gpus for node in self._nodes)
        wanted, total = engine.workers * engine.tensor_parallel, _total(self._nodes)
        if part > largest and engine.tensor_parallel <= total:
            hint = next((n for n in range(2, len(self._nodes) + 1) if _fits(engine, n, largest)), None)
            fix = (
                f"set engine.nodes = {hint} to spread one engine over {hint} nodes, or lower it"
                if hint
                else f"lower it to {largest} or less"
            )
            raise RunError(
                f"engine.tensor_parallel = {engine.tensor_parallel} needs {part} GPUs of one node, but the largest has "
                f"{largest}; {fix}"
            )
        if wanted > total:
            raise RunError(_too_few(engine, 0, total))
        engines = []
        for number in range(engine.workers):
            # An engine over several nodes takes those with most room, so that the rest stays even.
            order = sorted(range(len(self.free)), key=lambda i: -self.free[i] if engine.nodes > 1 else i)
            chosen = [i for i in order if self.free[i] >= part][: engine.nodes]
            if len(chosen) < engine.nodes:
                raise RunError(self._no_room(engine, number))
            engines.append(tuple(seat for node in sorted(chosen) for seat in self._reserve(node, part)))
        return tuple(engines)

    def place_ranks(self, count: int, engines: Sequence[Sequence[Seat]]) -> tuple[Seat, ...]:
        """Seat all ranks: on the GPUs of these engines first, then on free ones, on few nodes each time."""
        shared: dict[int, list[Seat]] = {}
        for seat in (seat for own in engines for seat in own):
            shared.setdefault(self._node(seat), []).append(seat)
        found: list[Seat] = []
        for node in sorted(shared, key=lambda i: (-len(shared[i]), i)):
            found += shared[node][: count - len(found)]
        for node in sorted(range(len(self.free)), key=lambda i: (-self.free[i], i)):
            if taken := min(self.free[node], count - len(found)):
                found += self._reserve(node, taken)
        return tuple(sorted(found, key=lambda seat: (self._node(seat), seat.group, seat.bundle)))

    def on_one_node(self, actors: Sequence[Sequence[Seat]]) -> int:
        """Return the largest number of these seats on one node."""
        counts = [0] * len(self._nodes)
        for seat in (seat for own in actors for seat in own):
            counts[self._node(seat)] += 1
        return max(counts)

    def _reserve(self, node: int, gpus: int) -> list[Seat]:
        self.groups.append(Group(node, gpus))
        self.free[node] -= gpus
        return [Seat(len(self.groups) - 1, bundle, 1.0) for bundle in range(gpus)]

    def _node(self, seat: Seat) -> int:
        assert seat.group is not None, "every seat here has a GPU"
        return self.groups[seat.group].node

    def _no_room(self, engine: EngineConfig, placed: int) -> str:
        sizes = ", ".join(str(node.gpus) for node in self._nodes)
        spread = f" on {engine.nodes} nodes" if engine.nodes > 1 else ""
        return (
            f"engine.workers = {engine.workers} engines of engine.tensor_parallel = {engine.tensor_parallel} "
            f"GPUs{spread} do not fit nodes with {sizes} GPU(s): {placed} do, because a node's share of an engine is "
            "not cut; lower engine.workers, or choose a tensor_parallel that divides the nodes' GPUs"
        )


def _fits(engine: EngineConfig, nodes: int, largest: int) -> bool:
    return engine.tensor_parallel % nodes == 0 and engine.tensor_parallel // nodes <= largest


def _on_cpus(
    nodes: Sequence[Node], learner: LearnerConfig | None, engine: EngineConfig | None, mode: PlacementMode
) -> Placement:
    ranks, workers = (learner.ranks if learner else 0), (engine.workers if engine else 0)
    parts = engine.tensor_parallel if engine else 1
    apart = mode == "disaggregated" and ranks > 0 and workers > 0
    if apart and len(nodes) < 2:
        raise RunError(
            'placement = "disaggregated" keeps engines and learner on different nodes or GPUs, but the cluster is one '
            'node without GPUs; set it to "auto", or join more nodes'
        )
    ours = min(ranks, max(1, len(nodes) // 2)) if apart else 0
    theirs = len(nodes) - ours
    return Placement(
        groups=(),
        engines=tuple(
            (Seat(node=ours + worker % theirs if apart else None),) * parts for worker in range(workers)
        ),
        ranks=tuple(Seat(node=rank * ours // ranks if apart else None) for rank in range(ranks)),
        takes_turns=ranks > 0 and workers > 0 and not apart,
        gpu_memory_share=_memory_share(engine, beside_learner=False),
        rollout_threads=_threads(
            nodes, engine.threads if engine else None, parts * -(-workers // theirs if apart else -workers)
        ),
        learner_threads=_threads(
            nodes, learner.threads if learner else None, -(-ranks // ours) if apart else ranks
        ),
    )


def _halved(seat: Seat, others: set[tuple[int | None, int]]) -> Seat:
    return replace(seat, gpus=0.5) if (seat.group, seat.bundle) in others else seat


def _memory_share(engine: EngineConfig | None, beside_learner: bool) -> float:
    chosen = engine.gpu_memory_share if engine else None
    return chosen or (SHARE_BESIDE_LEARNER if beside_learner else SHARE_ALONE)


def _threads(nodes: Sequence[Node], chosen: int | None, actors: int) -> int:
    return chosen or max(1, min(node.cores for node in nodes) // max(actors, 1))


def _total(nodes: Sequence[Node]) -> int:
    return sum(node.gpus for node in nodes)


def _refuse_mixed(nodes: Sequence[Node]) -> None:
    """Refuse GPUs of several types: the slowest would set the pace, and engines would round differently.

    Raises:
        RunError: names the types and how to keep one.
    """
    counts: dict[str, int] = {}
    for node in nodes:
        if node.gpus and node.gpu_type:
            counts[node.gpu_type] = counts.get(node.gpu_type, 0) + node.gpus
    if len(counts) > 1:
        found = ", ".join(f"{count} × {name}" for name, count in sorted(counts.items()))
        raise RunError(
            f"the cluster has GPUs of several types ({found}); the slowest would set the pace, and engines of "
            "different types sample different tokens. Join the nodes of the other types with `ray start --num-gpus=0`"
        )


def _too_few(engine: EngineConfig | None, ranks: int, gpus: int) -> str:
    wanted, needed, keys = [], ranks, "this key"
    if engine:
        wanted.append(
            f"engine.workers = {engine.workers} × engine.tensor_parallel = {engine.tensor_parallel}"
        )
        needed += engine.workers * engine.tensor_parallel
        keys = "one of them"
    if ranks:
        wanted.append(f"learner.ranks = {ranks}")
    advice = f"lower {keys}"
    if engine and ranks:
        advice += ', or set placement = "colocated", where ranks take turns with the engines on their GPUs'
    elif engine and engine.tensor_parallel == 1:
        advice = "lower engine.workers: one engine per GPU decodes engine.max_sequences sequences at a time"
    return f"{' and '.join(wanted)} need {needed} GPUs, but the cluster has {gpus} GPU(s); {advice}"
