"""Builds the actors of a run on Ray: where each stands, how many threads it has, how to wait for it.

    driver ──▶ RolloutWorker × engine.workers    one vLLM engine each
           ──▶ LearnerWorker × learner.ranks     torch.distributed (gloo on CPU, NCCL on GPU)
           ──▶ RewardWorker                      owns the reward processes

With one device they share it and take turns; the driver moves token ids, scores and references, never weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import ray

from grpo.actor import LearnerWorker
from grpo.checkpoint import Checkpoint
from grpo.config import LearnerConfig, RlConfig
from grpo.errors import RunError
from grpo.loop import LoopState
from grpo.types import StepReport, TrainGroup
from rewards.actor import RewardWorker
from rewards.config import AuditConfig, RewardConfig
from rewards.registry import with_absolute_path
from rewards.types import ScoredGroup
from rollout.actor import RayWorkers, start_worker
from rollout.config import EngineConfig
from rollout.dispatch import Dispatcher
from rollout.types import RolloutChunk, SampleGroup
from rollout.weights import Publication, shared_memory_dir

START_TIMEOUT_S = 600.0
"""An actor that has not answered by then (model loading included) is reported as lost."""
LEARNER_TIMEOUT_S = 7200.0
"""Longest update, log-prob pass or save."""
REWARD_TIMEOUT_S = 7200.0
"""Longest scoring of a phase; each call inside has the deadline of its recipe, so this one never bites first."""


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


@contextmanager
def connect(address: str | None) -> Iterator[None]:
    """Join a Ray cluster or start one on localhost; leave or stop it at the end.

    Args:
        address: "local" for an own one, "auto" or "host:port" to join; None: RAY_ADDRESS if set, else "local".

    Raises:
        RunError: there is no cluster at the address.
    """
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {
        "logging_level": "error",
        "log_to_driver": bool(os.environ.get("GRPO_ACTOR_LOGS")),
    }
    if target == "local":
        # Actors declare no logical CPUs (threads are set explicitly), so cores never decide whether a run starts.
        options |= {
            "address": "local",
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
            "object_store_memory": 256 * 2**20,
        }
    else:
        options |= {"address": target}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        ray.init(**options)
    except (ConnectionError, ValueError) as error:
        raise RunError(f"no Ray cluster at {target!r}: {error}; start one with `ray start --head`") from error
    try:
        yield
    finally:
        ray.shutdown()


def resources() -> tuple[int, int]:
    """(cores of the smallest node, GPUs of the cluster)."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    cores = min((int(n.get("CPU", 0)) for n in nodes), default=0) or (os.cpu_count() or 1)
    return min(cores, os.cpu_count() or cores), int(sum(n.get("GPU", 0) for n in nodes))


def wait(references: Sequence[Any], what: str, timeout_s: float = START_TIMEOUT_S) -> list[Any]:
    """Results of remote calls, with an owner for the wait.

    Raises:
        RunError: an actor died or did not answer in time; names it.
    """
    try:
        return ray.get(list(references), timeout=timeout_s)
    except ray.exceptions.GetTimeoutError as error:
        raise RunError(f"{what}: no answer within {timeout_s:.0f} s") from error
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else None
        if isinstance(cause, (ValueError, RuntimeError, OSError)):
            raise cause from error
        raise RunError(f"{what}: {error}") from error
    except ray.exceptions.RayError as error:
        raise RunError(f"{what}: the worker died ({str(error).splitlines()[0]})") from error


def start_ranks(
    worker: type, ranks: int, gpus: float, arguments: Callable[[int], tuple[Any, ...]]
) -> list[Any]:
    """One actor per rank, not waited for; `arguments(rank)` are its constructor's. `open_ranks` has them load."""
    remote: Any = ray.remote(worker).options(num_cpus=0, num_gpus=gpus, max_restarts=0)
    return [remote.remote(*arguments(rank)) for rank in range(ranks)]


def open_ranks(ranks: Sequence[Any]) -> None:
    """Let the ranks meet, on whichever nodes they are, and load the policy.

    Raises:
        RunError, PolicyError: what a rank could not load.
    """
    several = len(ranks) > 1
    rendezvous = wait([ranks[0].meeting_point.remote()], "learner start")[0] if several else None
    wait([r.start.remote(rendezvous) for r in ranks], "learner start")


def share(value: Any) -> Any:
    """Put a value into the object store once, for all ranks."""
    return ray.put(value)


def end_ranks(ranks: Sequence[Any]) -> None:
    """Close the ranks, then end their processes."""
    with suppress(RunError):
        wait([r.close.remote() for r in ranks], "learner", 20.0)
    for rank in ranks:
        ray.kill(rank)


class RewardHandle:
    """The reward worker, seen from the loop (`grpo.loop.Rewards`)."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Any:
        """Start scoring; returns a ticket."""
        return self._worker.score.remote(groups, stage, step)

    def collect(self, tickets: Sequence[Any]) -> list[ScoredGroup]:
        """The scored groups of all tickets. Each row has a deadline of its own inside the worker."""
        return [scored for groups in wait(tickets, "reward worker", REWARD_TIMEOUT_S) for scored in groups]

    def close(self) -> None:
        """End the reward processes, then the actor."""
        with suppress(RunError):
            wait([self._worker.close.remote()], "reward worker", 20.0)
        ray.kill(self._worker)


class LearnerGroup:
    """All learner ranks, seen from the loop (`grpo.loop.Learners`): the same call on each, rank 0's answer."""

    def __init__(self, ranks: Sequence[Any], config: RlConfig) -> None:
        self._ranks = list(ranks)
        self._root = str((config.run_dir / "checkpoints").absolute())
        self._keep = config.checkpoint.keep

    def begin_phase(self, groups: Sequence[TrainGroup], step: int, temperature: float) -> dict[str, float]:
        """Old and reference log-probs of the phase; see `Learner.begin_phase`."""
        shared = ray.put(list(groups))
        return self._all(
            [r.begin_phase.remote(shared, step, temperature) for r in self._ranks], "begin_phase"
        )

    def update(self, mini_batch: Sequence[TrainGroup], step: int, max_tokens: int) -> StepReport:
        """One optimizer update; see `Learner.update`."""
        shared = ray.put(list(mini_batch))
        return self._all([r.update.remote(shared, step, max_tokens) for r in self._ranks], "update")

    def publish(self, version: int) -> Publication:
        """Weights of this version, by rank 0."""
        return self._all([self._ranks[0].publish.remote(version)], "publish")

    def save(self, state: LoopState) -> None:
        """Checkpoint, by rank 0."""
        extra = {"cursor": state.cursor, "tokens": state.tokens}
        self._all([self._ranks[0].save.remote(self._root, state.step, extra, self._keep)], "save")

    def export(self, folder: Path) -> None:
        """Write the policy for transformers and vLLM, by rank 0."""
        self._all([self._ranks[0].export.remote(str(folder.absolute()))], "export")

    def close(self) -> None:
        """Remove published weights, end the ranks."""
        end_ranks(self._ranks)

    @staticmethod
    def _all(references: Sequence[Any], what: str) -> Any:
        return wait(references, f"learner {what}", LEARNER_TIMEOUT_S)[0]


class RolloutHandle:
    """The rollout workers, seen from the loop (`grpo.loop.Rollouts`)."""

    def __init__(self, pool: RayWorkers, dispatcher: Dispatcher) -> None:
        self._pool = pool
        self._dispatcher = dispatcher

    def generate(self, chunks: Sequence[RolloutChunk]) -> Iterator[SampleGroup]:
        """See `Dispatcher.generate`."""
        return self._dispatcher.generate(chunks)

    def run(self, chunks: Sequence[RolloutChunk]) -> Iterator[tuple[str, SampleGroup]]:
        """See `Dispatcher.run`."""
        return self._dispatcher.run(chunks)

    def wait_started(self) -> None:
        """See `Dispatcher.wait_started`."""
        self._dispatcher.wait_started()

    def load(self, publication: Publication) -> None:
        """See `Dispatcher.load`."""
        self._dispatcher.load(publication)

    @property
    def restarts(self) -> int:
        """How many workers had to be started anew."""
        return self._dispatcher.restarts

    def ledger_rows(self) -> list[dict[str, Any]]:
        """Every attempt at every chunk so far."""
        return [asdict(row) for row in self._dispatcher.ledger.rows()]

    def close(self) -> None:
        """End the workers."""
        self._pool.close()


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
    worker = ray.remote(RewardWorker).options(num_cpus=0)
    rewards = worker.remote(plugins, config.reward_workers, audit=audit)
    return Samplers(RolloutHandle(pool, dispatcher), RewardHandle(rewards))


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
