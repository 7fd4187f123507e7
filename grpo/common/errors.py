"""Errors of this package.

ConfigError (ValueError)        file, key path, value found, mend
RunError (RuntimeError)
├── GuardTripped                the signal is dead; training on would burn time (grpo/tracking/guards.py)
└── BrokenRun                   a run directory cannot be resumed; says which file and why
"""


class ConfigError(ValueError):
    """A recipe or a --set is wrong."""


class RunError(RuntimeError):
    """A run cannot go on."""


class GuardTripped(RunError):
    """A guard stopped the run: names the cause and the knob."""


class BrokenRun(RunError):
    """The run directory is damaged."""
