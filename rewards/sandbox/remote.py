"""Run programs on a pool of hosts that serve SandboxFusion's `run_code` API over HTTP.

    with RemoteSandbox.open(["http://sandbox-1:8080", "http://sandbox-2:8080"]) as sandbox:
        (outcome,) = sandbox.run_job(Job("python", b"print(1)"))

The hosts are trusted to isolate programs and to report their output; expected outputs are compared here. A host's
failure (no connection, an HTTP error, no answer in time, an invalid answer) is never a statement about the program:
another host is asked, and if that fails too, the outcome is "sandbox_error".
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

import urllib3

from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.judge import unstarted
from rewards.sandbox.packages import probe_source
from rewards.sandbox.run_code import COMPILED, TIER, HostError, Reply, longest_reply, outcome, parse, request
from rewards.sandbox.types import Job, Limits, Outcome

_TRIES = 2
_CONNECT_S = 5.0
_REST_S = 30.0
"""Seconds until a host that failed is asked again; sooner if all have failed."""
_IMPORT_S = 60.0
"""Longest time for the first import of the packages."""
_CHUNK = 1 << 16
_MESSAGE_CHARS = 200
_PROBE = Job("python", b"import sys\nprint(6 * 7 if sys.version_info >= (3, 10) else sys.version)\n")
"""The harness that calls a program's functions needs Python 3.10."""


@dataclass
class _Host:
    url: str
    running: int = 0
    rests_until: float = 0.0


@dataclass
class _Hosts:
    """Chooses the next host: among those that are not resting after a failure, the one with the fewest of our runs."""

    hosts: list[_Host]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def one(self, but: Sequence[_Host]) -> Iterator[_Host]:
        """Take a host, if possible none of `but`. A `HostError` in the block makes the host rest."""
        with self.lock:
            now = time.monotonic()
            host = min(self.hosts, key=lambda h: (h in but, h.rests_until > now, h.running))
            self.hosts.remove(host)
            self.hosts.append(host)  # the last choice among equals
            host.running += 1
        try:
            yield host
        except HostError:
            host.rests_until = time.monotonic() + _REST_S
            raise
        finally:
            with self.lock:
                host.running -= 1


class RemoteSandbox:
    """A pool of sandbox hosts; see `JobRunner`. Made by `RemoteSandbox.open`."""

    def __init__(self, urls: Sequence[str]) -> None:
        # Every reward process has its own pool object; the random order lets each begin with a different host.
        self._hosts = _Hosts([_Host(url) for url in random.SystemRandom().sample(list(urls), len(urls))])
        self._http = urllib3.PoolManager(maxsize=4, retries=False)
        self._is_closed = False

    @classmethod
    def open(cls, urls: Sequence[str], packages: Sequence[str] = ()) -> RemoteSandbox:
        """Run a first program on every host.

        Args:
            urls: of the hosts.
            packages: that programs may import; a host without one would call right programs wrong.

        Raises:
            SandboxUnavailable: none of the hosts runs it, or a host lacks a package; the message says what is wrong.
        """
        sandbox = cls(urls)
        with ThreadPoolExecutor(min(len(urls), 16)) as threads:
            hosts = list(sandbox._hosts.hosts)
            errors = list(threads.map(sandbox._probe, hosts))
            if all(errors):
                raise SandboxUnavailable("no sandbox host can be used: " + "; ".join(map(str, errors)))
            working = [host for host, error in zip(hosts, errors, strict=True) if not error]
            if not packages:
                return sandbox
            importing = Job("python", probe_source(packages), limits=Limits(wall_s=_IMPORT_S))
            lacking = [
                found for found in threads.map(partial(sandbox._probe, job=importing), working) if found
            ]
        if lacking:
            raise SandboxUnavailable(
                f"sandbox.packages: not every host can import {', '.join(packages)}: {'; '.join(lacking)}"
            )
        return sandbox

    @property
    def has_same_python(self) -> bool:
        """Return False: the Python version of a host is unknown."""
        return False

    def run_job(self, job: Job) -> list[Outcome]:
        """Run a job, see `JobRunner`. Each input is a separate request, which compiles again."""
        outcomes: list[Outcome] = []
        left_s = math.inf if job.total_wall_s is None else job.total_wall_s
        wait_s = job.wait_s
        for stdin in job.stdins:
            if left_s <= 0:
                reason = f"no time left of {job.total_wall_s:g} s for all runs"
                outcomes.append(unstarted("time_limit", reason, TIER))
                continue
            started, wall_s = time.monotonic(), min(job.limits.wall_s, left_s)
            body = request(job, stdin, wall_s)
            found = body if isinstance(body, Outcome) else self._ask_hosts(body, job, wall_s, wait_s)
            outcomes.append(found)
            left_s -= found.wall_s
            wait_s -= max(0.0, time.monotonic() - started - found.wall_s - _compile_s(job))
        return outcomes

    def close(self) -> None:
        """Make later jobs return "sandbox_error". The hosts end runs in progress by their own limits."""
        self._is_closed = True
        self._http.clear()

    def __enter__(self) -> RemoteSandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask_hosts(self, body: bytes, job: Job, wall_s: float, wait_s: float) -> Outcome:
        """Return the outcome from the first of up to `_TRIES` hosts that answers; they share the waiting time."""
        asked: list[_Host] = []
        errors: list[str] = []
        for tries_left in range(_TRIES, 0, -1):
            if self._is_closed or wait_s <= 0:
                errors.append(
                    "closed" if self._is_closed else f"no time left of {job.wait_s:g} s for waiting"
                )
                break
            started = time.monotonic()
            try:
                with self._hosts.one(asked) as host:
                    asked.append(host)
                    timeout_s = wall_s + _compile_s(job) + wait_s / tries_left
                    return outcome(self._ask(host, body, timeout_s, job.limits), wall_s, job.limits)
            except HostError as error:
                errors.append(f"{asked[-1].url}: {error}")
            wait_s -= max(0.0, time.monotonic() - started - wall_s - _compile_s(job))
        return unstarted("sandbox_error", "; ".join(errors), TIER)

    def _ask(self, host: _Host, body: bytes, timeout_s: float, limits: Limits) -> Reply:
        """Make one request, limited in time and in the size of the answer. Raises HostError."""
        deadline = time.monotonic() + timeout_s
        bound = longest_reply(limits)
        answer = bytearray()
        try:
            with self._http.request(
                "POST",
                f"{host.url}/run_code",
                body=body,
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                timeout=urllib3.Timeout(connect=min(_CONNECT_S, timeout_s), read=timeout_s),
                redirect=False,
                preload_content=False,
                decode_content=False,
            ) as response:
                while part := response.read1(_CHUNK):
                    answer += part
                    if len(answer) > bound:
                        raise HostError(f"its answer is longer than {bound} bytes")
                    if time.monotonic() > deadline:
                        raise HostError(f"no answer within {timeout_s:g} s")
        except urllib3.exceptions.TimeoutError as error:
            raise HostError(f"no answer within {timeout_s:g} s") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise HostError(f"{type(error).__name__}: {error}"[:_MESSAGE_CHARS]) from error
        if response.status != 200:
            shown = bytes(answer[:_MESSAGE_CHARS]).decode(errors="replace")
            raise HostError(f"HTTP status {response.status}: {shown}")
        return parse(bytes(answer))

    def _probe(self, host: _Host, job: Job = _PROBE) -> str:
        """Run a first program, which prints 42; return what is wrong with the host, or "" if nothing is."""
        limits = job.limits
        body = request(job, b"", limits.wall_s)
        assert isinstance(body, bytes)
        try:
            seen = outcome(self._ask(host, body, limits.wall_s + job.wait_s, limits), limits.wall_s, limits)
        except HostError as error:
            found = str(error)
        else:
            if seen.stdout == b"42\n":
                return ""
            printed = (seen.stdout + seen.stderr)[:_MESSAGE_CHARS].decode(errors="replace")
            found = f"a first program (Python 3.10 or later) ended with {seen.verdict}: {printed!r}"
        host.rests_until = time.monotonic() + _REST_S
        return f"{host.url}: {found}"


def _compile_s(job: Job) -> float:
    return job.limits.compile_wall_s if job.language in COMPILED else 0.0
