"""The Ray session of a stage: join or start a cluster, start ranks, wait for answers under a deadline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray

from grpo.common.errors import RunError

START_TIMEOUT_S = 600.0
"""An actor that has not answered by then (model loading included) is reported as lost."""
LEARNER_TIMEOUT_S = 7200.0
"""Longest update, log-prob pass or save."""


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


def get(references: Sequence[Any], what: str, timeout_s: float = START_TIMEOUT_S) -> list[Any]:
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
    rendezvous = get([ranks[0].rendezvous_address.remote()], "learner start")[0] if several else None
    get([r.start.remote(rendezvous) for r in ranks], "learner start")


def put(value: Any) -> Any:
    """Put a value into the object store once, for all ranks."""
    return ray.put(value)


def end_ranks(ranks: Sequence[Any]) -> None:
    """Close the ranks, then end their processes."""
    with suppress(RunError):
        get([r.close.remote() for r in ranks], "learner", 20.0)
    for rank in ranks:
        ray.kill(rank)
