"""One warm sandbox per process and settings, for rewards: made at the first call, ended with the process.

    outcome = shared_sandbox(settings).run("python", source, stdin)

A reward host (`rewards.hosts.host`) counts children that a call leaves behind as faults; launchers are told to it
as kept.
"""

from __future__ import annotations

import atexit
import os
import threading

from rewards.hosts.processes import keep
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings

_lock = threading.Lock()
_sandboxes: dict[SandboxSettings, Sandbox] = {}


def shared_sandbox(settings: SandboxSettings | None = None) -> Sandbox:
    """The sandbox of this process for these settings. Do not close it.

    Raises:
        SandboxUnavailable: see `Sandbox.open`; tried again at the next call.
    """
    settings = settings or SandboxSettings()
    with _lock:
        if settings not in _sandboxes:
            _sandboxes[settings] = Sandbox.open(settings, on_launcher=keep)
        return _sandboxes[settings]


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
