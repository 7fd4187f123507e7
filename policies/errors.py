"""Errors of this package.

PolicyError (ValueError)
├── UnsupportedArchitecture    the model folder has an unsupported architecture
├── MissingTokenizer           the model folder has no tokenizer
└── BrokenCheckpoint           a file is missing, cut short or does not fit the config

GatherError (RuntimeError)     a tensor put together from several ranks is not what they hold
"""


class PolicyError(ValueError):
    """A model folder cannot be used as it is; the message names the file and a fix."""


class UnsupportedArchitecture(PolicyError):
    """The architecture is not supported."""


class MissingTokenizer(PolicyError):
    """The model folder has no tokenizer."""


class BrokenCheckpoint(PolicyError):
    """A file is missing, cut short, or its tensors do not fit the config."""


class GatherError(RuntimeError):
    """A tensor that was gathered from several ranks is not made of their parts; the message names it and a rank."""
