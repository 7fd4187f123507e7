"""`grpo submit`: a stage as a Ray job. The job runs the same command on the cluster; its log is followed here."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

from grpo.common.config_io import find_recipe, read_toml
from grpo.common.errors import ConfigError, RunError
from grpo.stages.registry import STAGES

AGENT_TIMEOUT_S, AGENT_PAUSE_S = 60.0, 1.0
_NO_AGENT = "No available agent"


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


def job_command(command: str, recipe: str, overrides: Sequence[str]) -> list[str]:
    """The command line that the job runs: this interpreter, the same recipe and overrides, the cluster it is in."""
    words = [sys.executable, "-m", "grpo.cli", command, recipe]
    if command not in STAGES or STAGES[command].takes_address:
        words += ["--address", "auto"]
    for pair in overrides:
        words += ["--set", pair]
    return words


def run(command: str | None, recipe: str, overrides: Sequence[str], address: str) -> int:
    """Submit, follow the log, return the job's exit code (1 if it was stopped).

    Args:
        command: None: what the recipe is for (`command_of`).
        recipe, overrides: of that command.
        address: job server.

    Raises:
        ConfigError: no such recipe.
        RunError: no job server at the address, or it refuses the job.
    """
    command = command or command_of(recipe)
    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise RunError(
            f"no Ray job server at {address}: {error}; `ray start --head` starts one (default http://127.0.0.1:8265)"
        ) from error
    absolute = str(Path(recipe).resolve()) if Path(recipe).is_file() else recipe
    words = job_command(command, absolute, overrides)
    entrypoint = f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(words)}"
    job = _submit(client, entrypoint)
    print(f"job {job} on {address}: {shlex.join(words)}", flush=True)
    _follow(client, job)
    info = client.get_job_info(job)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    print(f"job {job} {info.status.value.lower()}: {info.message}", file=sys.stderr)
    return int(info.driver_exit_code) if info.driver_exit_code else 1


def _submit(client: JobSubmissionClient, entrypoint: str) -> str:
    """The job's id. A cluster that has just been started says for a while that none of its nodes takes jobs yet.

    Raises:
        RunError: it still says so after `AGENT_TIMEOUT_S`, or refuses the job.
    """
    give_up = time.monotonic() + AGENT_TIMEOUT_S
    while True:
        try:
            return client.submit_job(entrypoint=entrypoint)
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
        time.sleep(1.0)
