"""A process that ends when the one that started it dies, however that dies: SIGKILL leaves no other way.

end_with_parent(os.getppid())                                             for the rest of this process, early in it
Popen(words, preexec_fn=ending_with_me(signal.SIGTERM))                   for a process that is started
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent dies.

    Args:
        parent: its process id; if it is dead already, this process ends here.
        number: the signal.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def ending_with_me(number: signal.Signals) -> Callable[[], None]:
    """Return what a process that this one starts calls before its program (`preexec_fn`): see `end_with_parent`."""
    me = os.getpid()
    return lambda: end_with_parent(me, number)
