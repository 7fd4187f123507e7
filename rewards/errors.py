"""Errors of this package.

    RewardError (ValueError)
    └── RewardLoadError     a reward named in a recipe cannot be found, imported or recognised

A reward that fails while it runs is no error but a verdict (`rewards.types.Score`).
"""


class RewardError(ValueError):
    """A reward is configured wrongly."""


class RewardLoadError(RewardError):
    """The plug-in cannot be loaded; raised before anything is launched."""
