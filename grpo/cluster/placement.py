"""How the cores and GPUs of a cluster are divided between rollout workers and learner ranks. Arithmetic alone.

Rollout and learning alternate, so each side may use all cores. GPUs:

    enough for all      an engine has its tensor_parallel GPUs, a rank has one
    fewer               engines over one GPU each, and at most one rank, share the GPUs in equal parts
    otherwise           RunError: two ranks on one GPU are refused by NCCL, and an engine over several GPUs is not cut
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from grpo.common.errors import RunError
from grpo.config.sections import LearnerConfig
from rollout.config import EngineConfig

RAY_PRECISION = 10_000
"""Ray counts GPUs in units of 1/10,000; shares are rounded down to them, so that they add up to no more than 1."""


@dataclass(frozen=True)
class Placement:
    """What each kind of actor asks Ray for."""

    rollout_gpus: float
    """GPUs of one engine; a share below 1 of a GPU that others use too."""
    learner_gpus: float
    """GPUs of one rank."""
    rollout_threads: int
    learner_threads: int


def plan_placement(engine: EngineConfig, learner: LearnerConfig | None, cores: int, gpus: int) -> Placement:
    """Divide cores and GPUs between rollout workers and learner ranks.

    Args:
        engine: workers, tensor_parallel, threads and gpu_memory_share.
        learner: ranks and threads; None where nothing is trained.
        cores: cores of one node.
        gpus: GPUs of the whole cluster.

    Raises:
        RunError: the GPUs do not suffice; names the keys to change.
    """
    ranks = learner.ranks if learner else 0
    rollout_gpus, learner_gpus = _divide_gpus(engine, ranks, gpus)
    return Placement(
        rollout_gpus=rollout_gpus,
        learner_gpus=learner_gpus,
        rollout_threads=engine.threads or max(1, cores // engine.workers),
        learner_threads=(learner.threads if learner else None) or max(1, cores // max(ranks, 1)),
    )


def plan_ranks(learner: LearnerConfig, cores: int, gpus: int) -> tuple[float, int]:
    """(GPUs, threads) of each rank where nothing but ranks runs.

    Raises:
        RunError: there are more ranks than GPUs.
    """
    if 0 < gpus < learner.ranks:
        raise RunError(
            f"learner.ranks = {learner.ranks}, but the cluster has {gpus} GPU(s), and two ranks cannot share one "
            f"(NCCL); set learner.ranks to {gpus} or less"
        )
    return (1.0 if gpus else 0.0), learner.threads or max(1, cores // learner.ranks)


def _divide_gpus(engine: EngineConfig, ranks: int, gpus: int) -> tuple[float, float]:
    if not gpus:
        return 0.0, 0.0
    if engine.tensor_parallel > gpus:
        raise RunError(
            f"engine.tensor_parallel = {engine.tensor_parallel}, but the cluster has {gpus} GPU(s)"
        )
    if gpus >= engine.workers * engine.tensor_parallel + ranks:
        return float(engine.tensor_parallel), 1.0
    if engine.tensor_parallel > 1 or ranks > 1:
        raise RunError(_too_few(engine, ranks, gpus))
    per_gpu = math.ceil((engine.workers + ranks) / gpus)
    together = min(per_gpu, engine.workers)
    if together > 1 and together * engine.gpu_memory_share > 1:
        raise RunError(
            f"{together} engines on one GPU (engine.workers = {engine.workers}, {gpus} GPU(s)) at "
            f"engine.gpu_memory_share = {engine.gpu_memory_share:g} each want more memory than it has; lower one of "
            "them"
        )
    share = RAY_PRECISION // per_gpu / RAY_PRECISION
    return share, share


def _too_few(engine: EngineConfig, ranks: int, gpus: int) -> str:
    wanted = f"engine.workers = {engine.workers} × engine.tensor_parallel = {engine.tensor_parallel}"
    if ranks:
        wanted += f" and learner.ranks = {ranks}"
    needed = engine.workers * engine.tensor_parallel + ranks
    return (
        f"{wanted} need {needed} GPUs, but the cluster has {gpus} GPU(s). Several ranks, or an engine over several "
        f"GPUs, share none: lower these keys until their sum is {gpus} or less"
    )
