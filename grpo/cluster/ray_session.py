"""The Ray session of a stage: join or start a cluster, wait for answers under a deadline."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import ray
from rich.markup import escape

from grpo.cluster.address import chosen, probe
from grpo.cluster.placement import Node
from grpo.common import stopping
from grpo.common.console import log, say, starting
from grpo.common.errors import GuardTripped, RunError
from grpo.common.hardware import resolve_compute_dtype
from grpo.common.neighbours import announced, warning
from grpo.common.runtime_env import handed_over, too_large
from grpo.common.shadows import first_on_the_path_of_workers, refuse_shadows_in
from policies.json_types import JsonDict
from rollout.ray_errors import explain

AnswerT = TypeVar("AnswerT")
Reference = ray.ObjectRef[object]
"""Stands for a value in Ray's object store, or for the result of a call."""
START_TIMEOUT_S = 600.0
"""An actor that has not answered by then (model loading included) is reported as lost."""
SHORT_TMP = Path("/tmp")
LONGEST_TMP = 107 - len("/ray/session_2026-11-30_12-00-00_123456_1234567/sockets/plasma_store")
"""Bytes of a folder below which Ray's longest socket path is within the kernel's 107."""
THREAD_KEYS = "learner.threads and engine.threads"
PATIENCE = 60
"""Health checks in a row, 3 s or more apart, that the process of an own node may miss before Ray gives the node up.
With Ray's five a machine that is busy for a minute lost its run; a process that ends is noticed without them."""
ON_THE_CLUSTER = "on the cluster, `ray logs cluster` lists them"
LEARNER_TIMEOUT_S = 7200.0
"""Longest update, log-prob pass or save."""


@contextmanager
def connect(address: str | None, run_dir: Path = Path()) -> Iterator[None]:
    """Join a Ray cluster or start one on localhost; leave or stop it at the end.

    Args:
        address: "local" for an own one, "auto" or "host:port" to join; None: RAY_ADDRESS if set, else "local".
        run_dir: of the run, by which others on this machine are told of it.

    Raises:
        RunError: there is no cluster at the address, or TMPDIR is too long for Ray's sockets.
        ConfigError: the files for the workers are too large.
        HiddenPackage: a file here would hide a package of the toolkit from the actors.
    """
    refuse_shadows_in(first_on_the_path_of_workers())
    target = chosen(address)
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
            "_temp_dir": temp_dir(),
            "_system_config": {"health_check_failure_threshold": PATIENCE},
        }
    else:
        probe(target)
        options |= {"address": target}
    if handed := handed_over():
        options["runtime_env"] = handed
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    starting(
        "starting Ray on this machine" if target == "local" else f"joining the Ray cluster {escape(target)}"
    )
    with announced(run_dir) as neighbours:
        if note := warning(neighbours, THREAD_KEYS):
            say(f"[yellow]note[/] {escape(note)}")
        try:
            with stopping.kept_from_children():
                session = ray.init(**options)
        except (ConnectionError, ValueError) as error:
            if "exceeds the maximum size" in str(error):
                raise too_large(handed, error) from error
            raise RunError(
                f"no Ray cluster at {target!r}: {error}; start one with `ray start --head`"
            ) from error
        except Exception as error:  # Ray raises plain ones: a process of its own that did not come up in 30 s
            load = os.getloadavg()[0]
            raise RunError(
                f"Ray did not start: {error} The load is {load:.1f} on {os.cpu_count()} cores; when other work has "
                "ended, the same command begins again. Ray's own logs: "
                f"{options.get('_temp_dir') or SHORT_TMP / 'ray'}/session_latest/logs"
            ) from error
        info: JsonDict = getattr(
            session, "address_info", {}
        )  # a client of a remote cluster (ray://) has none
        logs = Path(info["session_dir"]) / "logs" if "session_dir" in info else None
        log(f"logs of the actors: {logs or ON_THE_CLUSTER}")
        try:
            yield
        except GuardTripped:
            raise
        except Exception as error:
            error.add_note(actor_logs(logs))
            raise
        finally:
            ray.shutdown()


def temp_dir() -> str | None:
    """Return the folder for the files of an own Ray; None: Ray's own choice, which fits its sockets.

    Ray makes Unix sockets below TMPDIR, whose paths the kernel limits to 107 bytes.

    Raises:
        RunError: neither TMPDIR nor /tmp will do.
    """
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or str(SHORT_TMP)
    if len(os.fsencode(chosen)) <= LONGEST_TMP:
        return None
    if not os.access(SHORT_TMP, os.W_OK | os.X_OK):
        raise RunError(
            f"TMPDIR = {chosen!r} has {len(os.fsencode(chosen))} bytes; Ray's sockets allow {LONGEST_TMP}, and "
            f"{SHORT_TMP} cannot be written. Set RAY_TMPDIR to a shorter folder"
        )
    say(f"[yellow]note[/] TMPDIR is too long for Ray's sockets; Ray's files go to {SHORT_TMP}/ray")
    return f"{SHORT_TMP}/ray"


def actor_logs(folder: Path | None, newest: int = 3) -> str:
    """Return the line that says where the actors of a session wrote, and which of the files changed last.

    None is the folder of a cluster whose files are not here.
    """
    if folder is None:
        return f"logs of the actors: {ON_THE_CLUSTER}"
    found = [path for path in folder.glob("worker-*.[oe]*") if path.stat().st_size]
    names = [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime)[-newest:]]
    return f"logs of the actors: {folder}" + (f" (written last: {', '.join(names)})" if names else "")


def cluster_nodes() -> list[Node]:
    """Return the nodes that are alive: the head first, then by address."""
    here = os.cpu_count() or 1
    found = []
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        given: JsonDict = node["Resources"]
        types = [key.partition(":")[2] for key in given if key.startswith("accelerator_type:")]
        cores = min(int(given.get("CPU", 0)) or here, here)
        is_head = "node:__internal_head__" in given
        found.append(
            (
                (not is_head, node["NodeManagerAddress"], node["NodeID"]),
                Node(node["NodeID"], cores, int(given.get("GPU", 0)), types[0] if types else ""),
            )
        )
    return [node for _, node in sorted(found, key=lambda pair: pair[0])]


def cluster_dtype(setting: str, hidden_size: int, nodes: Sequence[Node]) -> str:
    """Return what policy.compute_dtype means where the actors run, whose GPUs the driver's host need not have."""
    chosen = resolve_compute_dtype(setting, hidden_size, on_gpu=any(node.gpus for node in nodes))
    if chosen != resolve_compute_dtype(setting, hidden_size):
        say(f"[yellow]note[/] the cluster computes in {chosen}, whatever this machine would choose")
    return chosen


def get(
    references: Sequence[ray.ObjectRef[AnswerT]], what: str, timeout_s: float = START_TIMEOUT_S
) -> list[AnswerT]:
    """Return the results of remote calls, in order.

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
        raise RunError(f"{what}: {explain(error)}") from error
    except ray.exceptions.RayError as error:
        happened = "could not start" if getattr(error, "actor_init_failed", False) else "the worker died"
        raise RunError(f"{what}: {happened}: {explain(error)}") from error


def put(value: object) -> Reference:
    """Put a value into the object store once, for all ranks."""
    return ray.put(value)
