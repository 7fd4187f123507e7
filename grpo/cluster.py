"""Builds the actors of a run on Ray: where each stands, how many threads it has, how to wait for it.

    driver ──▶ RolloutWorker × engine.workers    one vLLM engine each
           ──▶ LearnerWorker × learner.ranks     torch.distributed (gloo on CPU, NCCL on GPU)
           ──▶ RewardWorker                      owns the reward processes

With one device they share it and take turns; the driver moves token ids, scores and references, never weights.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from grpo.config import RlConfig
from grpo.errors import RunError

START_TIMEOUT_S = 600.0
"""An actor that has not answered by then (model loading included) is reported as lost."""


@dataclass(frozen=True)
class Placement:
    """What each kind of actor asks Ray for. Pure arithmetic: `plan_placement`."""

    rollout_gpus: float
    learner_gpus: float
    rollout_threads: int
    learner_threads: int


def plan_placement(config: RlConfig, cores: int, gpus: int) -> Placement:
    """Divide cores and GPUs between rollout workers and learner ranks.

    Args:
        config: engine.workers, engine.tensor_parallel, learner.ranks and thread overrides.
        cores: cores of one node.
        gpus: GPUs of the whole cluster.

    Returns:
        Shares. Rollout and learning alternate, so each side may use all cores; with fewer GPUs than actors they
        share one by halves.

    Raises:
        RunError: GPUs exist but not enough for the tensor-parallel size.
    """
    wanted = config.engine.workers * config.engine.tensor_parallel
    if gpus and config.engine.tensor_parallel > gpus:
        raise RunError(f"engine.tensor_parallel = {config.engine.tensor_parallel}, but the cluster has {gpus} GPU(s)")
    if not gpus:
        rollout_gpus = learner_gpus = 0.0
    elif gpus >= wanted + config.learner.ranks:
        rollout_gpus, learner_gpus = float(config.engine.tensor_parallel), 1.0
    else:
        share = gpus / (wanted + config.learner.ranks)
        rollout_gpus = learner_gpus = round(min(share, 0.5), 4)
    return Placement(
        rollout_gpus=rollout_gpus,
        learner_gpus=learner_gpus,
        rollout_threads=config.engine.threads or max(1, cores // config.engine.workers),
        learner_threads=config.learner.threads or max(1, cores // config.learner.ranks),
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
    options: dict[str, Any] = {"logging_level": "warning", "log_to_driver": bool(os.environ.get("GRPO_ACTOR_LOGS"))}
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


def free_port() -> int:
    """A TCP port on localhost that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
