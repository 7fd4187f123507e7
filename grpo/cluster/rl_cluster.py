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
from grpo.cluster.handles import RewardHandle, RolloutHandle
from grpo.cluster.placement import plan_placement
from grpo.cluster.ranks import start_ranks
from grpo.cluster.ray_session import resources
from grpo.cluster.rl_ranks import LearnerGroup, PublishSettings, RlLearnerFactory
from grpo.common.console import counted, starting
from grpo.common.errors import RunError
from grpo.common.runtime_env import for_workers
from grpo.config.algorithm import OPEN_KEYS
from grpo.config.rl import RlConfig
from grpo.config.sections import LearnerConfig
from grpo.training.checkpoint import Checkpoint
from rewards.config import AuditConfig, RewardConfig
from rewards.registry import with_absolute_path
from rollout.actor import RayWorkers, start_worker
from rollout.config import EngineConfig, Transport
from rollout.dispatch import Dispatcher
from rollout.vllm_settings import check_cpu_engine
from rollout.weight_folders import publication_roots


class SamplerConfig(Protocol):
    """What sampling reads of a stage's config."""

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

    def close(self) -> None:
        """End every actor; what was published goes with them."""
        _close(self.learners)
        self.samplers.close()


def _close(*handles: Handle) -> None:
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

    Raises:
        RunError: there are too few GPUs.
        RolloutError: there is none, and the engine cannot compute this policy on a CPU.
    """
    cores, gpus = resources()
    if not gpus:
        check_cpu_engine(model_dir)
    placement = plan_placement(config.engine, learner, cores, gpus)
    starting(f"starting {counted(config.engine.workers, 'engine')}: vLLM loads the policy")
    engine = config.engine.model_copy(
        update={"dtype": engine_dtype(config.engine, compute_dtype), "threads": placement.rollout_threads}
    )

    def start_rollout(_: int) -> object:
        return start_worker(model_dir.absolute(), engine, version, placement.rollout_gpus)

    pool = RayWorkers(start_rollout, engine.workers, engine.sync_timeout_s)
    dispatcher = Dispatcher(pool, engine.restart_limit, engine.chunk_timeout_s)
    # Actors may have another working directory than the driver, whose paths the recipe means.
    plugins = [r.model_copy(update={"name": _for_workers(r.name)}) for r in config.rewards]
    if audit is not None and audit.verifier is not None:
        audit = audit.model_copy(update={"verifier": _for_workers(audit.verifier)})
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
        RunError, PolicyError: what a learner could not load, or there are too few GPUs.
    """
    samplers = start_samplers(
        config, model_dir, compute_dtype, version=None, learner=config.learner, audit=config.audit
    )
    placement = plan_placement(config.engine, config.learner, *resources())
    policy = config.policy.model_copy(update={"compute_dtype": compute_dtype})
    algorithm = with_absolute_paths(config.algorithm, Path.cwd())
    algorithm = algorithm.model_copy(update={key: for_workers(getattr(algorithm, key)) for key in OPEN_KEYS})

    make = RlLearnerFactory(
        config=config.model_copy(update={"policy": policy, "algorithm": algorithm}),
        model_dir=model_dir.absolute(),
        publish=PublishSettings(
            roots=publication_roots(),
            wire_dtype=engine_dtype(config.engine, compute_dtype),
            transport=choose_transport(config.engine, sum(node["Alive"] for node in ray.nodes())),
            canaries=tuple(tuple(ids) for ids in canaries),
        ),
    )
    actors = start_ranks(
        make,
        ranks=config.learner.ranks,
        gpus=placement.learner_gpus,
        threads=placement.learner_threads,
        resume_from=checkpoint.path.absolute() if checkpoint else None,
    )
    learners = LearnerGroup(actors, config.run_dir, config.checkpoint.keep)
    try:
        learners.open()
    except BaseException:
        samplers.close()
        raise
    return Cluster(samplers, learners)


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
