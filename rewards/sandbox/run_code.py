"""SandboxFusion's `run_code` API: build the request for a program and interpret the answer. Pure functions.

    {code, language, stdin, compile_timeout, run_timeout, memory_limit_MB}
    → {status, message, compile_result, run_result: {status, execution_time, return_code, stdout, stderr}, …}

https://github.com/bytedance/SandboxFusion, sandbox/server/sandbox_api.py and sandbox/runners/types.py.
"""

from __future__ import annotations

import json
import math
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from rewards.sandbox.judge import unstarted
from rewards.sandbox.types import MIB, Job, Limits, Outcome

TIER = "remote"
LANGUAGES = {
    "python": "python",
    "cpp": "cpp",
    "javascript": "nodejs",
    "java": "java",
    "rust": "rust",
    "go": "go",
    "bash": "bash",
}
"""Our names of the languages and the API's, which has no C."""
COMPILED = ("cpp", "java", "rust", "go")
_LONGEST_ESCAPE = 6
"""Most bytes of JSON for one byte of output: backslash, u and four digits."""
_MESSAGE_CHARS = 200


class HostError(Exception):
    """Raised if a host failed: nothing is known about the program."""


class Command(BaseModel):
    """The API's report of one process."""

    status: Literal["Finished", "Error", "TimeLimitExceeded"]
    execution_time: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    return_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None


class Reply(BaseModel):
    """The parts of the API's answer that are used."""

    status: Literal["Success", "Failed", "SandboxError"]
    message: str = ""
    compile_result: Command | None = None
    run_result: Command | None = None


def request(job: Job, stdin: bytes, wall_s: float) -> bytes | Outcome:
    """Return the body that runs a job on one input, or an outcome if the API cannot be asked at all."""
    language = LANGUAGES.get(job.language)
    if language is None:
        reason = f"run_code has no language {job.language!r} (it has {', '.join(LANGUAGES)})"
        return unstarted("unsupported_language", reason, TIER)
    try:
        code = job.source.decode()
    except UnicodeDecodeError as error:  # a compiler or interpreter would refuse it too
        return unstarted("runtime_error", f"the program is not UTF-8 text: {error}", TIER)
    try:
        text = stdin.decode()
    except UnicodeDecodeError as error:
        reason = f"run_code cannot carry an input that is not UTF-8 text: {error}"
        return unstarted("sandbox_error", reason, TIER)
    body = {
        "code": code,
        "language": language,
        "stdin": text,
        "compile_timeout": job.limits.compile_wall_s,
        "run_timeout": wall_s,
        "memory_limit_MB": math.ceil(job.limits.memory_bytes / MIB),
    }
    return json.dumps(body).encode()


def longest_reply(limits: Limits) -> int:
    """Return a size in bytes that no valid answer reaches."""
    return 2 * _LONGEST_ESCAPE * limits.output_bytes + MIB


def parse(answer: bytes) -> Reply:
    """Parse and check the answer. Raises HostError."""
    try:
        return Reply.model_validate_json(answer)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the answer"
        raise HostError(f"not an answer of run_code: {where}: {first['msg']}"[:_MESSAGE_CHARS]) from error


def outcome(reply: Reply, wall_s: float, limits: Limits) -> Outcome:
    """Translate the answer into an outcome. Raises HostError if it says nothing about the program."""
    compiled, run = reply.compile_result, reply.run_result
    if reply.status == "SandboxError" or "Error" in [part.status for part in (compiled, run) if part]:
        raise HostError(f"it reports an error of its own: {reply.message[:_MESSAGE_CHARS]}")
    if compiled is not None and (compiled.status != "Finished" or compiled.return_code != 0):
        took_long = compiled.status == "TimeLimitExceeded"
        why = (
            f"ran longer than {limits.compile_wall_s:g} s"
            if took_long
            else f"exit code {compiled.return_code}"
        )
        return _seen("compile_error", f"compiler: {why}", compiled, limits)
    if run is None:
        raise HostError("its answer has no run_result")
    if run.status == "TimeLimitExceeded":
        return _seen("time_limit", f"ran longer than {wall_s:g} s", run, limits)
    if run.return_code is None:
        raise HostError("its answer has no return_code")
    if max(len(_bytes(run.stdout)), len(_bytes(run.stderr))) > limits.output_bytes:
        return _seen(
            "output_limit", f"wrote more than {limits.output_bytes} bytes to one stream", run, limits
        )
    if run.return_code != 0:
        return _seen("runtime_error", f"exit code {_exit_code(run)}", run, limits)
    return _seen("ok", "", run, limits)


def _seen(
    verdict: Literal["ok", "runtime_error", "compile_error", "time_limit", "output_limit"],
    reason: str,
    command: Command,
    limits: Limits,
) -> Outcome:
    return Outcome(
        verdict,
        reason,
        exit_code=_exit_code(command),
        stdout=_bytes(command.stdout)[: limits.output_bytes],
        stderr=_bytes(command.stderr)[: limits.output_bytes],
        wall_s=0.0 if verdict == "compile_error" else command.execution_time or 0.0,
        cpu_s=0.0,
        max_rss_bytes=0,
        tier=TIER,
    )


def _exit_code(command: Command) -> int | None:
    """Return the exit code. The API reports a signal as a negative number, an `Outcome` as 128 + signal."""
    code = command.return_code
    return 128 - code if code is not None and code < 0 else code


def _bytes(text: str | None) -> bytes:
    return (text or "").encode(errors="surrogatepass")
