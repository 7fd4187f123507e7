"""One sandbox per process and settings, for rewards: opened at the first call, closed with the process.

    (outcome,) = shared_sandbox(settings).run_job(Job("python", source, (stdin,)))

A reward host (`rewards.hosts.host`) ends after a call that leaves child processes behind; launchers are registered
as children that it keeps.
"""

from __future__ import annotations

import atexit
import os
import threading

from rewards.hosts.processes import keep
from rewards.sandbox.remote import RemoteSandbox
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.types import JobRunner

_lock = threading.Lock()
_sandboxes: dict[SandboxSettings, JobRunner] = {}


def shared_sandbox(settings: SandboxSettings | None = None) -> JobRunner:
    """The sandbox of this process for these settings: local, or a pool of hosts if they name some. Do not close it.

    Raises:
        SandboxUnavailable: see `Sandbox.open` and `RemoteSandbox.open`; tried again at the next call.
    """
    settings = settings or SandboxSettings()
    with _lock:
        if settings not in _sandboxes:
            _sandboxes[settings] = open_sandbox(settings)
        return _sandboxes[settings]


def open_sandbox(settings: SandboxSettings) -> JobRunner:
    """The one place that chooses the implementation; its launchers may outlive a call of a reward host.

    Raises:
        SandboxUnavailable: it cannot run a first program.
    """
    return RemoteSandbox.open(settings.urls) if settings.urls else Sandbox.open(settings, on_launcher=keep)


def close_shared() -> None:
    """End all of them now; the next call of `shared_sandbox` makes new ones."""
    with _lock:
        sandboxes = list(_sandboxes.values())
        _sandboxes.clear()
    for sandbox in sandboxes:
        sandbox.close()


def _forget_in_fork() -> None:
    """A fork begins without any: the lock may have been held by a thread that is not there."""
    global _lock
    _lock = threading.Lock()
    _sandboxes.clear()


atexit.register(close_shared)
os.register_at_fork(after_in_child=_forget_in_fork)
