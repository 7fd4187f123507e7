"""Processes that end when the one that started them dies, however that dies: SIGKILL leaves it no other way.

end_with_parent(os.getppid())          in the process that is to end
with ending_with_me(child.pid): …      a process and all of its group; a handler of SIGTERM may not save it
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_GUARD = """
import os, signal, sys, time
sys.stdin.buffer.read()          # ends with the one that holds the other end of the pipe
for number in (signal.SIGTERM, signal.SIGKILL):
    try:
        os.killpg(int(sys.argv[1]), number)
    except OSError:
        break
    time.sleep(float(sys.argv[2]))
"""
GRACE_S = 10.0
"""From SIGTERM to SIGKILL."""


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent, of this process id, dies; end it if that is dead already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def ending_with_me(group: int, grace_s: float = GRACE_S) -> Iterator[None]:
    """Have a process group ended if this process dies inside the block: by SIGTERM, then by SIGKILL.

    Args:
        group: the process id of its leader, which is in a session of its own.
        grace_s: seconds between the two signals.
    """
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(group), str(grace_s)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        guard.kill()
        guard.wait()
        assert guard.stdin is not None
        guard.stdin.close()
