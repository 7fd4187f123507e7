"""`grpo submit`: a stage as a Ray job. The job runs the same command on the cluster; its log is followed here."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

from grpo.errors import RunError


def job_command(command: str, recipe: str, overrides: Sequence[str]) -> list[str]:
    """The command line that the job runs: this interpreter, the same recipe and overrides, the cluster it is in."""
    words = [sys.executable, "-m", "grpo.cli", command, recipe, "--address", "auto"]
    for pair in overrides:
        words += ["--set", pair]
    return words


def run(command: str, recipe: str, overrides: Sequence[str], address: str) -> int:
    """Submit, follow the log, return the job's exit code (1 if it was stopped).

    Raises:
        RunError: no job server at the address.
    """
    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise RunError(
            f"no Ray job server at {address}: {error}; `ray start --head` starts one (default http://127.0.0.1:8265)"
        ) from error
    absolute = str(Path(recipe).resolve()) if Path(recipe).is_file() else recipe
    words = job_command(command, absolute, overrides)
    entrypoint = f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(words)}"
    job = client.submit_job(entrypoint=entrypoint)
    print(f"job {job} on {address}: {shlex.join(words)}", flush=True)
    _follow(client, job)
    info = client.get_job_info(job)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    print(f"job {job} {info.status.value.lower()}: {info.message}", file=sys.stderr)
    return int(info.driver_exit_code) if info.driver_exit_code else 1


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
