"""`grpo submit`: a stage as a Ray job. The job runs the same command on the cluster; its log is followed here.

Ctrl-C ends the following, not the job: on a terminal it asks whether the job is to go on.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

from grpo.common.config_io import apply_overrides, find_recipe, read_toml
from grpo.common.errors import ConfigError, RunError
from grpo.common.runtime_env import describe, too_large
from grpo.stages.registry import STAGES
from policies.json_types import JsonDict

AGENT_TIMEOUT_S, AGENT_PAUSE_S = 60.0, 1.0
_NO_AGENT = "No available agent"
FOLLOW_PAUSE_S = 1.0
STOP_WAIT_S = 120
"""Seconds that a job has, after it was asked to stop, to write its checkpoint; Ray's own default is 3."""
DETACHED = 3
"""Exit code: the job goes on without this command."""


def command_of(recipe: str) -> str:
    """The command that a recipe is for: `run` for a graph, else the stage that it names.

    Raises:
        ConfigError: no such recipe, or it does not say.
    """
    name, text = find_recipe(recipe)
    tree = read_toml(name, text)
    if "graph" in tree:
        return "run"
    stage = tree.get("stage")
    if stage not in STAGES:
        raise ConfigError(f"{name}: stage = {stage!r}; say one of {', '.join(STAGES)}, or give --command")
    return str(stage)


def job_command(
    command: str, recipe: str, overrides: Sequence[str], python: str = sys.executable
) -> list[str]:
    """The command line that the job runs: the same recipe and overrides, the cluster it is in."""
    words = [python, "-m", "grpo.cli", command, recipe]
    if command not in STAGES or STAGES[command].takes_address:
        words += ["--address", "auto"]
    for pair in overrides:
        words += ["--set", pair]
    return words


def run(
    command: str | None, recipe: str, overrides: Sequence[str], address: str, env: JsonDict | None = None
) -> int:
    """Submit, follow the log, return the job's exit code (1 if it was stopped, `DETACHED` if it goes on).

    Args:
        command: None: what the recipe is for (`command_of`).
        recipe, overrides: of that command.
        address: job server.
        env: Ray's runtime_env (`grpo.common.runtime_env`).

    Raises:
        ConfigError: no such recipe; or its output would go into the copy of a working directory.
        RunError: no job server at the address, or it refuses the job.
    """
    command = command or command_of(recipe)
    env = dict(env or {})
    words, folder = _words(command, recipe, overrides, env)
    client = _client(address)
    env["env_vars"] = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S), **env.get("env_vars", {})}
    entrypoint = f"exec {shlex.join(words)}"
    job = _submit(client, f"cd {shlex.quote(folder)} && {entrypoint}" if folder else entrypoint, env)
    handed = describe({**env, "env_vars": [n for n in env["env_vars"] if n != "RAY_JOB_STOP_WAIT_TIME_S"]})
    print(f"job {job} on {address}: {shlex.join(words)}" + (f" ({handed})" if handed else ""), flush=True)
    return _watch(client, job, address)


def attach(job: str, address: str) -> int:
    """Follow the log of a job, from its beginning; returns as `run`.

    Raises:
        RunError: there is no such job, or no job server.
    """
    client = _client(address)
    _status(client, job, address)
    return _watch(client, job, address)


def stop(job: str, address: str) -> int:
    """Ask a job to stop and wait until it has; returns 0.

    Raises:
        RunError: there is no such job, or no job server.
    """
    client = _client(address)
    if _status(client, job, address).is_terminal():
        print(f"job {job} has ended already: {client.get_job_status(job).value.lower()}")
        return 0
    client.stop_job(job)
    print(f"job {job} is asked to stop; it has {STOP_WAIT_S} s for its checkpoint", flush=True)
    give_up = time.monotonic() + STOP_WAIT_S + AGENT_TIMEOUT_S
    while not (status := client.get_job_status(job)).is_terminal():
        if time.monotonic() > give_up:
            raise RunError(
                f"job {job} is still {status.value.lower()}; look at it with `ray job status {job}`"
            )
        time.sleep(FOLLOW_PAUSE_S)
    print(f"job {job} {status.value.lower()}")
    return 0


def _words(
    command: str, recipe: str, overrides: Sequence[str], env: JsonDict
) -> tuple[list[str], str | None]:
    """Return the job's command line, and the folder to run it in; None for the uploaded working directory."""
    working_dir = env.get("working_dir")
    absolute = Path(recipe).resolve() if Path(recipe).is_file() else None
    if working_dir is None:
        return job_command(command, str(absolute or recipe), overrides), str(Path.cwd())
    _refuse_lost_output(command, recipe, overrides)
    if absolute is not None and absolute.is_relative_to(working_dir):
        recipe = str(absolute.relative_to(working_dir))
    return job_command(
        command, str(absolute or recipe) if recipe == str(absolute) else recipe, overrides
    ), None


def _refuse_lost_output(command: str, recipe: str, overrides: Sequence[str]) -> None:
    """Refuse a relative output: it would be written into the copy of the working directory, which Ray deletes.

    Raises:
        ConfigError: names the key.
    """
    name, text = find_recipe(recipe)
    tree = read_toml(name, text)
    apply_overrides(tree, overrides)
    key = "graph.run_dir" if command == "run" else STAGES[command].output_key
    place = (tree.get("graph", {}) if command == "run" else tree).get(key.rpartition(".")[2])
    if isinstance(place, str) and not place.startswith(("/", "~", "$")):
        raise ConfigError(
            f"{name}: {key} = {place!r} would be written into the job's copy of the working directory, which Ray "
            f"deletes; name a folder that the cluster keeps: --set {key}=/shared/{place}"
        )


def _client(address: str) -> JobSubmissionClient:
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(
            f"no Ray job server at {address}: {error}; `ray start --head` starts one (default http://127.0.0.1:8265)"
        ) from error


def _status(client: JobSubmissionClient, job: str, address: str) -> JobStatus:
    try:
        return client.get_job_status(job)
    except RuntimeError as error:
        known = [str(info.submission_id) for info in client.list_jobs() if info.submission_id]
        listing = f"jobs there: {', '.join(known)}" if known else "it has none"
        raise RunError(f"no job {job} on {address}; {listing}") from error


def _submit(client: JobSubmissionClient, entrypoint: str, env: JsonDict) -> str:
    """The job's id. A cluster that has just been started says for a while that none of its nodes takes jobs yet.

    Raises:
        RunError: it still says so after `AGENT_TIMEOUT_S`, or refuses the job.
        ConfigError: the files for the workers are too large.
    """
    give_up = time.monotonic() + AGENT_TIMEOUT_S
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint, runtime_env=env)
        except ValueError as error:
            if "exceeds the maximum size" in str(error):
                raise too_large(env, error) from error
            raise RunError(f"the job server did not take the job: {error}") from error
        except RuntimeError as error:
            if _NO_AGENT not in str(error):
                raise RunError(f"the job server did not take the job: {error}") from error
            if time.monotonic() > give_up:
                raise RunError(
                    f"the job server did not take the job: {error} No agent of a node is up; "
                    "if another Ray runs on the machine its agent has the port: start this one with `ray start "
                    "--dashboard-agent-listen-port PORT`"
                ) from error
        time.sleep(AGENT_PAUSE_S)


def _watch(client: JobSubmissionClient, job: str, address: str) -> int:
    """Follow the job to its end, or until Ctrl-C; returns the exit code."""
    again = f"grpo submit --attach {job} --address {address}"
    halt = f"grpo submit --stop {job} --address {address}"
    try:
        _follow(client, job)
    except KeyboardInterrupt:
        if _wants_stop(job):
            return stop(job, address)
        print(f"\njob {job} goes on; follow it: {again} · stop it: {halt}", file=sys.stderr)
        return DETACHED
    except (OSError, RuntimeError) as error:
        raise RunError(f"lost the job server ({error}); job {job} may go on: {again}") from error
    info = client.get_job_info(job)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    print(f"job {job} {info.status.value.lower()}: {info.message}", file=sys.stderr)
    return int(info.driver_exit_code) if info.driver_exit_code else 1


def _wants_stop(job: str) -> bool:
    """Ask, on a terminal, whether the job is to stop; without one, or after another Ctrl-C, it goes on."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        f"\njob {job} runs on the cluster: [d]etach and let it go on, or [s]top it? [d] ",
        end="",
        file=sys.stderr,
    )
    sys.stderr.flush()
    try:
        return input().strip().lower().startswith("s")
    except (KeyboardInterrupt, EOFError):
        return False


def _follow(client: JobSubmissionClient, job: str) -> None:
    """Print the job's log as it grows, until it ends."""
    printed = 0
    while True:
        ended = client.get_job_status(job).is_terminal()
        log = client.get_job_logs(job)
        sys.stdout.write(log[printed:])
        sys.stdout.flush()
        printed = len(log)
        if ended:
            return
        time.sleep(FOLLOW_PAUSE_S)
