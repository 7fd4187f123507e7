"""The Ray session of a stage: join or start a cluster, wait for answers under a deadline."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any  # Any: answers of remote calls

import ray

from grpo.common import stopping
from grpo.common.errors import RunError
from policies.json_types import JsonDict

Reference = ray.ObjectRef[Any]
"""Stands for a value in Ray's object store, or for the result of a call."""
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
    options: JsonDict = {
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
        with stopping.kept_from_children():
            ray.init(**options)
    except (ConnectionError, ValueError) as error:
        raise RunError(f"no Ray cluster at {target!r}: {error}; start one with `ray start --head`") from error
    try:
        yield
    finally:
        ray.shutdown()


def resources() -> tuple[int, int]:
    """Return (cores of the smallest node, GPUs of the cluster)."""
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    cores = min((int(n.get("CPU", 0)) for n in nodes), default=0) or (os.cpu_count() or 1)
    return min(cores, os.cpu_count() or cores), int(sum(n.get("GPU", 0) for n in nodes))


def get(references: Sequence[Reference], what: str, timeout_s: float = START_TIMEOUT_S) -> list[Any]:
    """Return the results of remote calls, in order; their types are those of the methods called.

    Args:
        references: of the calls.
        what: who is waited for, as an error names it.
        timeout_s: longest wait for all of them.

    Raises:
        RunError: an actor died or did not answer in time; names it.
        ValueError, RuntimeError, OSError: raised by the method, as it is; other exceptions come as RunError.
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


def put(value: object) -> Reference:
    """Put a value into the object store once, for all ranks."""
    return ray.put(value)
