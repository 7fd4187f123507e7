"""Where engines and ranks sit; arithmetic alone, no Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.cluster.placement import Node, Placement, PlacementMode, Seat, plan_placement
from grpo.common.errors import RunError
from grpo.config.sections import LearnerConfig
from rollout.config import EngineConfig

COUNTS = st.integers(1, 12)
CORES = st.integers(1, 256)
CLUSTERS = st.lists(st.builds(Node, st.just("n"), CORES, st.integers(0, 8)), min_size=1, max_size=5)
LEARNERS = st.none() | st.builds(LearnerConfig, ranks=COUNTS, threads=st.none() | st.integers(1, 64))
ENGINES = st.sampled_from([(1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (8, 1), (8, 4)]).flatmap(
    lambda pair: st.builds(
        EngineConfig,
        workers=COUNTS,
        tensor_parallel=st.just(pair[0]),
        nodes=st.just(pair[1]),
        threads=st.none() | st.integers(1, 64),
    )
)
MODES = st.sampled_from(["auto", "colocated", "disaggregated"])


def cluster(*gpus: int, cores: int = 8, gpu_type: str = "") -> list[Node]:
    return [Node(f"node{i}", cores, count, gpu_type) for i, count in enumerate(gpus)]


def plan(
    nodes: Sequence[Node],
    workers: int,
    tensor_parallel: int = 1,
    ranks: int | None = 1,
    mode: PlacementMode = "auto",
    spread: int = 1,
) -> Placement:
    learner = None if ranks is None else LearnerConfig(ranks=ranks)
    engine = EngineConfig(workers=workers, tensor_parallel=tensor_parallel, nodes=spread)
    return plan_placement(nodes, learner, engine, mode)


def place(placement: Placement, seat: Seat) -> tuple[int, int, int]:
    """(node, group, GPU in the group)."""
    assert seat.group is not None
    return placement.groups[seat.group].node, seat.group, seat.bundle


def check(placement: Placement, nodes: Sequence[Node], engine: EngineConfig | None, ranks: int) -> None:
    """What every placement on GPUs promises."""
    used: Counter[tuple[int, int, int]] = Counter()
    engines = [[place(placement, seat) for seat in own] for own in placement.engines]
    learners = [place(placement, seat) for seat in placement.ranks]
    for seat in [*(seat for own in placement.engines for seat in own), *placement.ranks]:
        assert seat.bundle < placement.groups[seat.group or 0].gpus
        used[place(placement, seat)] += seat.gpus  # type: ignore[assignment]  # halves
    assert all(load == 1 or load == 0.5 for load in used.values()), used
    reserved = Counter[int]()
    for group in placement.groups:
        reserved[group.node] += group.gpus
    assert all(reserved[i] <= node.gpus for i, node in enumerate(nodes))
    assert sum(reserved.values()) == len(used), "a GPU is reserved and not used"
    assert len(learners) == len(set(learners)) == ranks, "two ranks on one GPU"
    everything = [seat for own in engines for seat in own]
    assert len(everything) == len(set(everything)), "two engines on one GPU"
    if engine:
        assert len(engines) == engine.workers
        for own in engines:
            per_node = Counter(node for node, _, _ in own)
            assert set(per_node.values()) == {engine.tensor_parallel // engine.nodes}
            assert len(per_node) == engine.nodes
    numbers = [node for node, _, _ in learners]
    assert numbers == sorted(numbers), "ranks of one node have neighbouring numbers"
    assert placement.takes_turns == bool(set(everything) & set(learners))


@pytest.mark.parametrize(
    ("gpus", "workers", "tensor_parallel", "ranks", "turns", "share"),
    [
        ([1], 1, 1, 1, True, 0.45),  # A: one GPU
        ([2], 1, 1, 1, False, 0.9),
        ([8], 8, 1, 8, True, 0.45),  # B: colocated, all GPUs in both turns
        ([8], 4, 1, 4, False, 0.9),
        ([8], 1, 8, 8, True, 0.45),
        ([8] * 4, 4, 8, 32, True, 0.45),  # C
        ([8] * 4, 2, 8, 16, False, 0.9),
        ([8] * 32, 32, 8, 256, True, 0.45),
        ([8] * 32, 256, 1, 256, True, 0.45),
        ([8] * 32, 16, 8, 128, False, 0.9),
        ([1], 1, 1, None, False, 0.9),  # an evaluation has the GPU to itself
    ],
)
def test_shapes_of_users(
    gpus: list[int], workers: int, tensor_parallel: int, ranks: int | None, turns: bool, share: float
) -> None:
    nodes = cluster(*gpus)
    placement = plan(nodes, workers, tensor_parallel, ranks)
    check(placement, nodes, EngineConfig(workers=workers, tensor_parallel=tensor_parallel), ranks or 0)
    assert (placement.takes_turns, placement.gpu_memory_share) == (turns, share)


def test_an_engine_over_two_nodes_has_half_of_its_gpus_on_each() -> None:
    nodes = cluster(*[8] * 32)
    placement = plan(nodes, 16, 16, 256, spread=2)
    check(placement, nodes, EngineConfig(workers=16, tensor_parallel=16, nodes=2), 256)
    assert all(len({place(placement, seat)[0] for seat in own[:8]}) == 1 for own in placement.engines), (
        "an engine's first ranks are on its first node"
    )


def test_the_r1_cluster_holds_its_engines_and_ranks() -> None:
    nodes = cluster(*[8] * 64)
    placement = plan(nodes, 16, 32, 512, spread=4)
    check(placement, nodes, EngineConfig(workers=16, tensor_parallel=32, nodes=4), 512)


def test_ranks_that_are_fewer_than_the_gpus_stay_on_few_nodes() -> None:
    placement = plan(cluster(8, 8), 1, 4, 8, "disaggregated")
    assert {place(placement, seat)[0] for seat in placement.ranks} == {1}


@pytest.mark.parametrize(
    ("gpus", "arguments", "message"),
    [
        ([8], {"workers": 1, "ranks": 16}, r"learner\.ranks = 16, but the cluster has 8 GPU.*to 8 or less"),
        ([1], {"workers": 2}, r"engine\.workers = 2 × engine\.tensor_parallel = 1 need 2 GPUs.* has 1 GPU"),
        ([4], {"workers": 1, "tensor_parallel": 8}, r"tensor_parallel = 8 need 8 GPUs, .* has 4 GPU"),
        (
            [8, 8],
            {"workers": 1, "tensor_parallel": 16},
            r"tensor_parallel = 16 needs 16 GPUs of one node, but the largest has 8; set engine\.nodes = 2 to spread",
        ),
        ([3, 3, 3], {"workers": 1, "tensor_parallel": 8}, r"the largest has 3; lower it to 3 or less"),
        ([6, 6], {"workers": 3, "tensor_parallel": 4}, r"do not fit nodes with 6, 6 GPU.*: 2 do"),
        (
            [8],
            {"workers": 4, "ranks": 6, "mode": "disaggregated"},
            r'workers = 4 .* and learner\.ranks = 6 need 10 GPUs, .* has 8 GPU.*placement = "colocated"',
        ),
        ([0], {"workers": 1, "mode": "disaggregated"}, r'one node without GPUs; set it to "auto"'),
    ],
)
def test_what_does_not_fit_is_refused_with_the_keys_to_change(
    gpus: list[int], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        plan(cluster(*gpus), **arguments)  # type: ignore[arg-type]


def test_gpus_of_several_types_are_refused_by_name() -> None:
    nodes = [*cluster(8, gpu_type="H100"), *cluster(4, gpu_type="L4")]
    with pytest.raises(RunError, match=r"8 × H100, 4 × L4.*ray start --num-gpus=0"):
        plan(nodes, 1)
    assert plan([*cluster(8, gpu_type="H100"), *cluster(0, gpu_type="")], 1).groups
    assert plan([*cluster(8, gpu_type="H100"), *cluster(8, gpu_type="H100")], 1).groups


@given(CLUSTERS, ENGINES, LEARNERS, MODES)
def test_a_placement_keeps_its_promises_or_is_refused(
    nodes: list[Node], engine: EngineConfig, learner: LearnerConfig | None, mode: PlacementMode
) -> None:
    ranks, total = (learner.ranks if learner else 0), sum(node.gpus for node in nodes)
    try:
        placement = plan_placement(nodes, learner, engine, mode)
    except RunError:
        parts = engine.tensor_parallel // engine.nodes
        rooms = [node.gpus // parts for node in nodes]
        # The largest number of engines: each takes a part of as many different nodes as it has parts.
        most = next(n for n in range(50, -1, -1) if sum(min(room, n) for room in rooms) >= n * engine.nodes)
        assert (
            engine.workers > most
            or ranks > total
            or (mode == "disaggregated" and engine.workers * engine.tensor_parallel + ranks > total)
        ), "refused although it fits"
        return
    if total:
        check(placement, nodes, engine, ranks)
        apart = engine.workers * engine.tensor_parallel + ranks <= total
        if learner and mode != "colocated":
            assert placement.takes_turns is not apart
    else:
        assert not placement.groups
        assert all(seat.gpus == 0 for seat in [*placement.ranks, *placement.engines[0]])
        assert len(placement.ranks) == ranks
        if mode == "disaggregated" and learner:
            used = {seat.node for own in placement.engines for seat in own}
            assert used.isdisjoint({seat.node for seat in placement.ranks})
            assert used | {seat.node for seat in placement.ranks} <= set(range(len(nodes)))


@given(CLUSTERS, ENGINES, LEARNERS, MODES)
def test_threads_that_are_set_are_kept_and_others_do_not_exceed_the_cores(
    nodes: list[Node], engine: EngineConfig, learner: LearnerConfig | None, mode: PlacementMode
) -> None:
    try:
        placement = plan_placement(nodes, learner, engine, mode)
    except RunError:
        return
    for chosen, threads, seats in (
        (engine.threads, placement.rollout_threads, [s for own in placement.engines for s in own]),
        (learner.threads if learner else None, placement.learner_threads, list(placement.ranks)),
    ):
        if chosen is not None:
            assert threads == chosen
            continue
        crowd: Counter[int | None] = Counter(
            placement.groups[seat.group].node if seat.group is not None else seat.node for seat in seats
        )
        assert threads >= 1
        assert all(threads * count <= max(min(n.cores for n in nodes), count) for count in crowd.values())


@pytest.mark.parametrize(
    ("workers", "ranks", "cores", "rollout_threads", "learner_threads"),
    [(1, 1, 8, 8, 8), (2, 4, 8, 4, 2), (3, 3, 8, 2, 2), (4, 4, 2, 1, 1)],
)
def test_each_side_has_all_cores_in_its_turn(
    workers: int, ranks: int, cores: int, rollout_threads: int, learner_threads: int
) -> None:
    placement = plan(cluster(0, cores=cores), workers, ranks=ranks)
    assert (placement.rollout_threads, placement.learner_threads) == (rollout_threads, learner_threads)
    assert placement.takes_turns


def test_ranks_alone_have_a_gpu_each() -> None:
    placement = plan_placement(cluster(4, 4), LearnerConfig(ranks=6), None)
    check(placement, cluster(4, 4), None, 6)
    assert [seat.gpus for seat in placement.ranks] == [1.0] * 6
    with pytest.raises(RunError, match=r"learner\.ranks = 9, but the cluster has 8 GPU"):
        plan_placement(cluster(4, 4), LearnerConfig(ranks=9), None)
