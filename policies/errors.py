"""Errors of this package.

PolicyError (ValueError)
├── UnsupportedArchitecture    the model folder holds an architecture we do not know
├── MissingTokenizer           the model folder has no tokenizer
└── BrokenCheckpoint           a file of it is missing, cut or does not fit the config
"""


class PolicyError(ValueError):
    """A model folder cannot be used as it is; the message names file and mend."""


class UnsupportedArchitecture(PolicyError):
    """The architecture is not one we know."""


class MissingTokenizer(PolicyError):
    """No tokenizer beside the weights."""


class BrokenCheckpoint(PolicyError):
    """A file is missing, cut short, or its tensors do not fit the config."""
