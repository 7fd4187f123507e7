"""The actors of `grpo rl`, `grpo eval` and `grpo sample` on Ray.

    driver ──▶ RolloutWorker × engine.workers    one vLLM engine each
           ──▶ RankWorker × learner.ranks        torch.distributed (gloo on CPU, NCCL on GPU)
           ──▶ RewardWorker                      owns the reward processes

With one device they share it and take turns (grpo/cluster/placement.py); the driver moves token ids, scores and
references, never weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import ray

from grpo.algorithm.registry import with_absolute_paths
from grpo.cluster.bundles import ReservedSeats, reserve
from grpo.cluster.handles import RewardHandle, RolloutHandle
from grpo.cluster.placement import Placement, plan_placement
from grpo.cluster.ranks import start_ranks
from grpo.cluster.ray_session import cluster_dtype, cluster_nodes
from grpo.cluster.rl_ranks import LearnerGroup, PublishSettings, RlLearnerFactory
from grpo.common.console import counted, starting
from grpo.common.errors import RunError
from grpo.common.runtime_env import for_workers
from grpo.config.adapter import for_ranks
from grpo.config.algorithm import OPEN_KEYS
from grpo.config.rl import RlConfig
from grpo.training.checkpoint import Checkpoint
from rewards.config import AuditConfig, RewardConfig
from rewards.registry import with_absolute_path
from rollout.actor import RayWorkers, start_worker
from rollout.config import EngineConfig, Transport
from rollout.dispatch import Dispatcher
from rollout.gang import EngineGang
from rollout.vllm_settings import check_cpu_engine, hidden_size
from rollout.weight_folders import publication_roots


class ComputesIn(Protocol):
    """A `[policy]` section of any stage."""

    @property
    def compute_dtype(self) -> str:
        """The recipe's, which may be "auto"."""


class SamplerConfig(Protocol):
    """What sampling reads of a stage's config."""

    @property
    def policy(self) -> ComputesIn:
        """The `[policy]` section."""

    @property
    def engine(self) -> EngineConfig:
        """The `[engine]` section."""

    @property
    def rewards(self) -> tuple[RewardConfig, ...]:
        """The `[[rewards]]`, components of the score."""

    @property
    def reward_workers(self) -> int:
        """Number of processes per reward."""


class Handle(Protocol):
    """What ends with a run."""

    def close(self) -> None:
        """End the actors behind the handle."""


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
    compute_dtype: str
    """What policy.compute_dtype means on the cluster."""

    def close(self) -> None:
        """End every actor; what was published goes with them."""
        _close(self.learners)
        self.samplers.close()


def _close(*handles: Handle) -> None:
    for handle in handles:
        with suppress(ray.exceptions.RayError):
            handle.close()


def start_samplers(config: SamplerConfig, model_dir: Path, context: int, version: int) -> Samplers:
    """Start rollout and reward workers where nothing is trained, without waiting for them.

    Args:
        config: the recipe.
        model_dir: as every node sees it.
        context: tokens that the longest prompt and its completion need; engine.max_model_len overrides it.
        version: policy version of the folder's weights.

    Raises:
        RunError: there are too few GPUs.
        RolloutError: there is none, and the engine cannot compute this policy on a CPU.
    """
    nodes = cluster_nodes()
    compute_dtype = cluster_dtype(config.policy.compute_dtype, hidden_size(model_dir), nodes)
    placement = plan_placement(nodes, None, config.engine)
    seats = reserve(placement, nodes)
    engine = engine_settings(config.engine, placement, compute_dtype, context)
    return _start_samplers(config, model_dir, engine, placement, seats, version, None)


def engine_settings(
    engine: EngineConfig, placement: Placement, compute_dtype: str, context: int
) -> EngineConfig:
    """Return the section as the engines get it: what it leaves open comes from recipe and placement."""
    return engine.model_copy(
        update={
            "dtype": engine_dtype(engine, compute_dtype),
            "threads": placement.rollout_threads,
            "gpu_memory_share": placement.gpu_memory_share,
            "max_model_len": engine.max_model_len or context,
        }
    )


def _start_samplers(
    config: SamplerConfig,
    model_dir: Path,
    engine: EngineConfig,
    placement: Placement,
    seats: ReservedSeats,
    version: int | None,
    audit: AuditConfig | None,
) -> Samplers:
    if not placement.groups:
        check_cpu_engine(model_dir, engine)
    starting(f"starting {counted(engine.workers, 'engine')}: vLLM loads the policy")

    def start_rollout(worker: int) -> EngineGang:
        own = [seats.options(seat) for seat in placement.engines[worker]]
        return start_worker(model_dir.absolute(), engine, version, own, placement.takes_turns)

    pool = RayWorkers(start_rollout, engine.workers, engine.sync_timeout_s)
    dispatcher = Dispatcher(pool, engine.restart_limit, engine.chunk_timeout_s)
    # Actors may have another working directory than the driver, whose paths the recipe means.
    plugins = [r.model_copy(update={"name": _for_workers(r.name)}) for r in config.rewards]
    if audit is not None and audit.verifier is not None:
        audit = audit.model_copy(update={"verifier": _for_workers(audit.verifier)})
    rewards = RewardHandle.start(plugins, config.reward_workers, audit)
    return Samplers(RolloutHandle(pool, dispatcher, placement.takes_turns), rewards)


def start_cluster(
    config: RlConfig,
    model_dir: Path,
    context: int,
    canaries: Sequence[tuple[int, ...]],
    checkpoint: Checkpoint | None,
) -> Cluster:
    """Start all actors of a training run and wait until each learner has loaded the policy.

    They start side by side, but for engines whose GPUs the learner shares: vLLM measures the free memory of its GPU, so
    the learner waits until the engines are up and asleep.

    Args:
        config, model_dir, context: see `start_samplers`.
        canaries: prompts whose log-probs prove each weight sync.
        checkpoint: to resume from.

    Raises:
        RunError, PolicyError: what a learner could not load, or there are too few GPUs.
    """
    nodes = cluster_nodes()
    compute_dtype = cluster_dtype(config.policy.compute_dtype, hidden_size(model_dir), nodes)
    placement = plan_placement(nodes, config.learner, config.engine, config.placement)
    seats = reserve(placement, nodes)
    engine = engine_settings(config.engine, placement, compute_dtype, context)
    samplers = _start_samplers(config, model_dir, engine, placement, seats, None, config.audit)
    policy = for_ranks(config.policy, compute_dtype)
    algorithm = with_absolute_paths(config.algorithm, Path.cwd())
    algorithm = algorithm.model_copy(update={key: for_workers(getattr(algorithm, key)) for key in OPEN_KEYS})

    make = RlLearnerFactory(
        config=config.model_copy(update={"policy": policy, "algorithm": algorithm}),
        model_dir=model_dir.absolute(),
        publish=PublishSettings(
            roots=publication_roots(),
            wire_dtype=engine_dtype(config.engine, compute_dtype),
            transport=choose_transport(config.engine, len(nodes)),
            canaries=tuple(tuple(ids) for ids in canaries),
        ),
    )
    try:
        if placement.takes_turns and placement.groups:
            samplers.rollouts.wait_started()
        actors = start_ranks(
            make,
            seats=[seats.options(seat) for seat in placement.ranks],
            threads=placement.learner_threads,
            resume_from=checkpoint.path.absolute() if checkpoint else None,
        )
        learners = LearnerGroup(actors, config.run_dir, config.checkpoint.keep)
        learners.open()
    except BaseException:
        samplers.close()
        raise
    return Cluster(samplers, learners, compute_dtype)


def choose_transport(engine: EngineConfig, nodes: int) -> Transport:
    """Return engine.transport; "auto" is shared memory on one node, and the object store on several.

    Args:
        engine: the recipe's section.
        nodes: of the cluster.

    Raises:
        RunError: shared memory was asked for, but engines may be on other nodes than the learner.
    """
    if engine.transport == "auto":
        return "shared_memory" if nodes == 1 else "object_store"
    if engine.transport == "shared_memory" and nodes > 1:
        raise RunError(
            f'engine.transport = "shared_memory", but the cluster has {nodes} nodes, and engines of other nodes cannot '
            'read the learner\'s memory; set it to "auto" or "object_store"'
        )
    return engine.transport


def _for_workers(name: str) -> str:
    return for_workers(with_absolute_path(name, Path.cwd()))


def engine_dtype(engine: EngineConfig, compute_dtype: str) -> str:
    """Return engine.dtype, "auto" being the learner's."""
    return compute_dtype if engine.dtype == "auto" else engine.dtype
