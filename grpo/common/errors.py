"""Errors of this package.

ConfigError (ValueError)        file, key path, value found, fix
RunError (RuntimeError)
├── GuardTripped                the training signal is dead; more steps would waste time (grpo/tracking/guards.py)
└── BrokenRun                   a run directory cannot be resumed; names the file and the reason
"""

from __future__ import annotations

import errno
from collections.abc import Mapping


class ConfigError(ValueError):
    """A recipe or a --set is wrong."""


class RunError(RuntimeError):
    """A run cannot go on."""


class GuardTripped(RunError):
    """A guard stopped the run; names the cause and the key to change."""


class BrokenRun(RunError):
    """The run directory is damaged."""


FIXES: Mapping[int, str] = {
    errno.EACCES: "choose another place, or change who may write there",
    errno.EPERM: "choose another place, or change who may write there",
    errno.EROFS: "choose another place",
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
}
"""What helps against an error of the system, where one thing does."""


def text_of(error: Exception) -> str:
    """Return the text of an error; of one of the system's with what it was about first, and what to do."""
    if not isinstance(error, OSError) or error.filename is None or not error.strerror:
        return str(error)
    fix = FIXES.get(error.errno or 0, "")
    return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}{fix and '; ' + fix}"
