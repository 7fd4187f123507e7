"""Builds the actors of a run on Ray: where each stands, how many threads and GPUs it has.

    driver ──▶ RolloutWorker × engine.workers    one vLLM engine each
           ──▶ LearnerWorker × learner.ranks     torch.distributed (gloo on CPU, NCCL on GPU)
           ──▶ RewardWorker                      owns the reward processes

With one device they share it and take turns; the driver moves token ids, scores and references, never weights.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray

from grpo.cluster.actor import LearnerWorker
from grpo.cluster.handles import LearnerGroup, RewardHandle, RolloutHandle
from grpo.cluster.ray_session import open_ranks, resources, start_ranks
from grpo.common.errors import RunError
from grpo.config.rl import RlConfig
from grpo.config.sections import LearnerConfig
from grpo.training.checkpoint import Checkpoint
from rewards.config import AuditConfig, RewardConfig
from rewards.registry import with_absolute_path
from rollout.actor import RayWorkers, start_worker
from rollout.config import EngineConfig
from rollout.dispatch import Dispatcher
from rollout.publication import shared_memory_dir


@dataclass(frozen=True)
class Placement:
    """What each kind of actor asks Ray for. Pure arithmetic: `plan_placement`."""

    rollout_gpus: float
    learner_gpus: float
    rollout_threads: int
    learner_threads: int


class SamplerConfig(Protocol):
    """What sampling reads of a stage's config."""

    @property
    def engine(self) -> EngineConfig:
        """Workers."""

    @property
    def rewards(self) -> tuple[RewardConfig, ...]:
        """Components of the score."""

    @property
    def reward_workers(self) -> int:
        """Processes per reward."""


def plan_placement(engine: EngineConfig, learner: LearnerConfig | None, cores: int, gpus: int) -> Placement:
    """Divide cores and GPUs between rollout workers and learner ranks.

    Args:
        engine: workers, tensor_parallel and threads.
        learner: ranks and threads; None where nothing is trained.
        cores: cores of one node.
        gpus: GPUs of the whole cluster.

    Returns:
        Shares. Rollout and learning alternate, so each side may use all cores; with fewer GPUs than actors they
        share one by halves.

    Raises:
        RunError: GPUs exist but not enough for the tensor-parallel size.
    """
    ranks = learner.ranks if learner else 0
    wanted = engine.workers * engine.tensor_parallel
    if gpus and engine.tensor_parallel > gpus:
        raise RunError(
            f"engine.tensor_parallel = {engine.tensor_parallel}, but the cluster has {gpus} GPU(s)"
        )
    if not gpus:
        rollout_gpus = learner_gpus = 0.0
    elif gpus >= wanted + ranks:
        rollout_gpus, learner_gpus = float(engine.tensor_parallel), 1.0
    else:
        share = gpus / (wanted + ranks)
        rollout_gpus = learner_gpus = round(min(share, 0.5), 4)
    return Placement(
        rollout_gpus=rollout_gpus,
        learner_gpus=learner_gpus,
        rollout_threads=engine.threads or max(1, cores // engine.workers),
        learner_threads=(learner.threads if learner else None) or max(1, cores // max(ranks, 1)),
    )


@dataclass(frozen=True)
class Samplers:
    """What sampling and evaluation need: rollout workers and the reward worker."""

    rollouts: RolloutHandle
    rewards: RewardHandle

    def close(self) -> None:
        """End the actors."""
        _close(self.rewards, self.rollouts)


@dataclass(frozen=True)
class Cluster:
    """The handles of a training run."""

    samplers: Samplers
    learners: LearnerGroup

    def close(self) -> None:
        """End every actor; what was published goes with them."""
        _close(self.learners)
        self.samplers.close()


def _close(*handles: Any) -> None:
    for handle in handles:
        with suppress(ray.exceptions.RayError):
            handle.close()


def start_samplers(
    config: SamplerConfig,
    model_dir: Path,
    compute_dtype: str,
    version: int | None,
    learner: LearnerConfig | None = None,
    audit: AuditConfig | None = None,
) -> Samplers:
    """Start rollout and reward workers, without waiting for them.

    Args:
        config: the recipe.
        model_dir: as every node sees it.
        compute_dtype: the learner's, resolved; the engines' too unless engine.dtype names another.
        version: policy version of the folder's weights; None if a weight sync will come first.
        learner: what is trained beside them on the same machines; None: nothing.
        audit: the rewards' second verifier.
    """
    placement = plan_placement(config.engine, learner, *resources())
    engine = config.engine.model_copy(
        update={"dtype": engine_dtype(config.engine, compute_dtype), "threads": placement.rollout_threads}
    )

    def start_rollout(_: int) -> Any:
        return start_worker(model_dir.absolute(), engine, version, placement.rollout_gpus)

    pool = RayWorkers(start_rollout, engine.workers, engine.sync_timeout_s)
    dispatcher = Dispatcher(pool, engine.restart_limit, engine.chunk_timeout_s)
    # Actors may have another working directory than the driver, whose paths the recipe means.
    plugins = [r.model_copy(update={"name": with_absolute_path(r.name, Path.cwd())}) for r in config.rewards]
    if audit is not None and audit.verifier is not None:
        audit = audit.model_copy(update={"verifier": with_absolute_path(audit.verifier, Path.cwd())})
    rewards = RewardHandle.start(plugins, config.reward_workers, audit)
    return Samplers(RolloutHandle(pool, dispatcher), rewards)


def start_cluster(
    config: RlConfig,
    model_dir: Path,
    compute_dtype: str,
    canaries: Sequence[tuple[int, ...]],
    checkpoint: Checkpoint | None,
) -> Cluster:
    """Start all actors of a training run side by side and wait until each learner has loaded the policy.

    Args:
        config, model_dir, compute_dtype: see `start_samplers`.
        canaries: prompts whose log-probs prove each weight sync.
        checkpoint: to resume from.

    Raises:
        RunError, PolicyError: what a learner could not load.
    """
    samplers = start_samplers(
        config, model_dir, compute_dtype, version=None, learner=config.learner, audit=config.audit
    )
    placement = plan_placement(config.engine, config.learner, *resources())
    policy = config.policy.model_copy(update={"compute_dtype": compute_dtype})

    def arguments(rank: int) -> tuple[Any, ...]:
        return (
            config.model_copy(update={"policy": policy}),
            str(model_dir.absolute()),
            rank,
            placement.learner_threads,
            str(checkpoint.path.absolute()) if checkpoint else None,
            str(shared_memory_dir(f"grpo-{os.getuid()}-{os.getpid()}")),
            engine_dtype(config.engine, compute_dtype),
            sum(node["Alive"] for node in ray.nodes()) > 1,
            canaries,
        )

    ranks = start_ranks(LearnerWorker, config.learner.ranks, placement.learner_gpus, arguments)
    learners = LearnerGroup(ranks, config)
    try:
        open_ranks(ranks)
    except BaseException:
        Cluster(samplers, learners).close()
        raise
    return Cluster(samplers, learners)


def engine_dtype(engine: EngineConfig, compute_dtype: str) -> str:
    """engine.dtype, "auto" being the learner's."""
    return compute_dtype if engine.dtype == "auto" else engine.dtype
