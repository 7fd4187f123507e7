"""How GPUs and cores are divided; arithmetic alone, no Ray."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.cluster.placement import Placement, plan_placement, plan_ranks
from grpo.common.errors import RunError
from grpo.config.sections import LearnerConfig
from rollout.config import EngineConfig

COUNTS = st.integers(1, 12)
GPUS = st.integers(0, 64)
CORES = st.integers(1, 256)
LEARNERS = st.none() | st.builds(LearnerConfig, ranks=COUNTS, threads=st.none() | st.integers(1, 64))
ENGINES = st.builds(
    EngineConfig,
    workers=COUNTS,
    tensor_parallel=st.sampled_from([1, 2, 4, 8]),
    threads=st.none() | st.integers(1, 64),
    gpu_memory_share=st.floats(0.05, 1.0),
)


def plan(
    workers: int = 1, tensor_parallel: int = 1, ranks: int | None = 1, cores: int = 8, gpus: int = 0
) -> Placement:
    learner = None if ranks is None else LearnerConfig(ranks=ranks)
    engine = EngineConfig(workers=workers, tensor_parallel=tensor_parallel)
    return plan_placement(engine, learner, cores, gpus)


@pytest.mark.parametrize(
    ("workers", "tensor_parallel", "ranks", "gpus", "rollout_gpus", "learner_gpus"),
    [
        (2, 1, 2, 0, 0.0, 0.0),  # a CPU
        (2, 4, 1, 0, 0.0, 0.0),
        (1, 1, 1, 1, 0.5, 0.5),  # one GPU: engine and learner take turns
        (2, 1, 1, 1, 0.3333, 0.3333),
        (2, 1, 1, 2, 0.5, 0.5),
        (1, 1, 1, 2, 1.0, 1.0),
        (4, 1, 4, 8, 1.0, 1.0),  # one node, divided
        (2, 2, 4, 8, 2.0, 1.0),
        (1, 8, 8, 16, 8.0, 1.0),
        (1, 1, None, 1, 1.0, 1.0),  # evaluation has the GPU to itself
        (2, 1, None, 1, 0.5, 0.5),
        (3, 1, None, 2, 0.5, 0.5),
        (2, 4, None, 8, 4.0, 1.0),
    ],
)
def test_gpus(
    workers: int,
    tensor_parallel: int,
    ranks: int | None,
    gpus: int,
    rollout_gpus: float,
    learner_gpus: float,
) -> None:
    placement = plan(workers, tensor_parallel, ranks, gpus=gpus)
    assert placement.rollout_gpus == rollout_gpus
    assert ranks is None or placement.learner_gpus == learner_gpus


@pytest.mark.parametrize(
    ("workers", "tensor_parallel", "ranks", "gpus"),
    [
        (8, 1, 8, 8),  # halves would put two ranks on one GPU, which NCCL refuses
        (1, 1, 2, 1),
        (1, 1, 2, 2),
        (1, 2, 1, 2),  # an engine over two GPUs has no half to give
        (2, 4, None, 4),
        (1, 8, 1, 4),
    ],
)
def test_what_does_not_fit_is_refused_with_the_keys_to_change(
    workers: int, tensor_parallel: int, ranks: int | None, gpus: int
) -> None:
    with pytest.raises(RunError) as error:
        plan(workers, tensor_parallel, ranks, gpus=gpus)
    text = str(error.value)
    assert f"{gpus} GPU" in text
    assert f"engine.tensor_parallel = {tensor_parallel}" in text
    assert ("learner.ranks" in text) == (ranks is not None and tensor_parallel <= gpus)


def test_engines_that_share_a_gpu_must_leave_room_for_one_another() -> None:
    engine = EngineConfig(workers=3, gpu_memory_share=0.45)
    with pytest.raises(RunError, match=r"3 engines on one GPU .* engine\.gpu_memory_share = 0\.45"):
        plan_placement(engine, None, 8, 1)
    assert plan_placement(EngineConfig(workers=3, gpu_memory_share=0.3), None, 8, 1).rollout_gpus == 0.3333


@pytest.mark.parametrize(
    ("workers", "ranks", "cores", "rollout_threads", "learner_threads"),
    [(1, 1, 8, 8, 8), (2, 4, 8, 4, 2), (3, 3, 8, 2, 2), (4, 4, 2, 1, 1)],
)
def test_each_side_has_all_cores_in_its_turn(
    workers: int, ranks: int, cores: int, rollout_threads: int, learner_threads: int
) -> None:
    placement = plan(workers, ranks=ranks, cores=cores)
    assert (placement.rollout_threads, placement.learner_threads) == (rollout_threads, learner_threads)


@given(ENGINES, LEARNERS, CORES, GPUS)
def test_a_placement_can_be_had(
    engine: EngineConfig, learner: LearnerConfig | None, cores: int, gpus: int
) -> None:
    """Never more GPUs than there are, whatever Ray puts where; or an error."""
    try:
        placement = plan_placement(engine, learner, cores, gpus)
    except RunError:
        assert gpus > 0
        return
    ranks = learner.ranks if learner else 0
    asked = [placement.rollout_gpus] * engine.workers + [placement.learner_gpus] * ranks
    assert sum(asked) <= gpus
    assert placement.rollout_threads >= 1
    assert placement.learner_threads >= 1
    if gpus == 0:
        assert placement.rollout_gpus == placement.learner_gpus == 0.0
        return
    assert all(share > 0 and (share < 1 or share == int(share)) for share in asked), "Ray takes no 1.5 GPUs"
    if engine.tensor_parallel > 1:
        assert placement.rollout_gpus == engine.tensor_parallel
    if ranks > 1:
        assert placement.learner_gpus == 1.0, "two ranks on one GPU: NCCL refuses"
    if min(asked) < 1:
        # Equal shares: first fit fills GPU after GPU, and no actor is left without a place.
        assert len(set(asked)) == 1
        assert len(asked) <= gpus * math.floor(1 / asked[0])


@given(ENGINES, LEARNERS, CORES, GPUS)
def test_threads_that_are_set_are_kept_and_others_do_not_exceed_the_cores(
    engine: EngineConfig, learner: LearnerConfig | None, cores: int, gpus: int
) -> None:
    try:
        placement = plan_placement(engine, learner, cores, gpus)
    except RunError:
        return
    workers, ranks = engine.workers, learner.ranks if learner else 1
    if engine.threads is not None:
        assert placement.rollout_threads == engine.threads
    else:
        assert placement.rollout_threads * workers <= max(cores, workers)
    if learner is not None and learner.threads is not None:
        assert placement.learner_threads == learner.threads
    else:
        assert placement.learner_threads * ranks <= max(cores, ranks)


@given(ENGINES, LEARNERS, CORES, GPUS)
def test_one_more_gpu_never_makes_a_run_impossible(
    engine: EngineConfig, learner: LearnerConfig | None, cores: int, gpus: int
) -> None:
    if gpus == 0:
        return
    try:
        before = plan_placement(engine, learner, cores, gpus)
    except RunError:
        return
    after = plan_placement(engine, learner, cores, gpus + 1)
    assert after.rollout_gpus >= before.rollout_gpus
    assert after.learner_gpus >= before.learner_gpus


@pytest.mark.parametrize(
    ("ranks", "gpus", "share"), [(1, 0, 0.0), (4, 0, 0.0), (1, 1, 1.0), (1, 8, 1.0), (4, 4, 1.0), (2, 8, 1.0)]
)
def test_ranks_alone_have_a_gpu_each(ranks: int, gpus: int, share: float) -> None:
    assert plan_ranks(LearnerConfig(ranks=ranks), 8, gpus) == (share, max(1, 8 // ranks))


def test_more_ranks_than_gpus_are_refused() -> None:
    with pytest.raises(RunError, match=r"learner\.ranks = 4, but the cluster has 2 GPU"):
        plan_ranks(LearnerConfig(ranks=4), 8, 2)
