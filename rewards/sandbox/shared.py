"""Share one sandbox per process and settings among rewards: opened at the first call, closed with the process.

    (outcome,) = shared_sandbox(settings).run_job(Job("python", source, (stdin,)))

A reward host (`rewards.hosts.host`) ends after a call that leaves child processes behind; launchers are therefore
registered as children that it may keep.
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
    """Return this process's sandbox for these settings: local, or a pool of hosts if they name any. Do not close it.

    Raises:
        SandboxUnavailable: see `Sandbox.open` and `RemoteSandbox.open`; the next call tries again.
    """
    settings = settings or SandboxSettings()
    with _lock:
        if settings not in _sandboxes:
            _sandboxes[settings] = open_sandbox(settings)
        return _sandboxes[settings]


def open_sandbox(settings: SandboxSettings) -> JobRunner:
    """Open a sandbox: the only code that chooses the implementation. Its launchers may outlive a reward host's call.

    Raises:
        SandboxUnavailable: the sandbox cannot run a first program.
    """
    return (
        RemoteSandbox.open(settings.urls, settings.packages)
        if settings.urls
        else Sandbox.open(settings, on_launcher=keep)
    )


def close_shared() -> None:
    """Close all shared sandboxes now; the next call of `shared_sandbox` opens a new one."""
    with _lock:
        sandboxes = list(_sandboxes.values())
        _sandboxes.clear()
    for sandbox in sandboxes:
        sandbox.close()


def _forget_in_fork() -> None:
    """Start a fork without sandboxes and with a new lock: a thread that it lacks may have held the old one."""
    global _lock
    _lock = threading.Lock()
    _sandboxes.clear()


atexit.register(close_shared)
os.register_at_fork(after_in_child=_forget_in_fork)
