"""Errors of this package.

ConfigError (ValueError)        file, key path, value found, fix
RunError (RuntimeError)
├── GuardTripped                the training signal is dead; more steps would waste time (grpo/tracking/guards.py)
└── BrokenRun                   a run directory cannot be resumed; names the file and the reason
"""


class ConfigError(ValueError):
    """A recipe or a --set is wrong."""


class RunError(RuntimeError):
    """A run cannot go on."""


class GuardTripped(RunError):
    """A guard stopped the run; names the cause and the key to change."""


class BrokenRun(RunError):
    """The run directory is damaged."""
