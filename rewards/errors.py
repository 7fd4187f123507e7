"""Errors of this package.

    RewardError (ValueError)
    └── RewardLoadError     a reward named in a recipe cannot be found, imported or recognised
    LlmError (RuntimeError)
    ├── LlmUnavailable      the server did not answer in time, or not in a form that can be read, at any attempt
    ├── LlmRefused          the server refuses the request: a wrong key, no such model, a prompt that is too long
    └── BudgetSpent         requests or tokens are used up

A reward that fails while it runs is no error but a verdict (`rewards.types.Score`).
"""


class RewardError(ValueError):
    """A reward is configured wrongly."""


class RewardLoadError(RewardError):
    """The plug-in cannot be loaded; raised before anything is launched."""


class LlmError(RuntimeError):
    """A language model gave no answer; the message says why and what to change."""


class LlmUnavailable(LlmError):
    """The server did not answer in time, or broke its answers."""


class LlmRefused(LlmError):
    """The server refuses the request; sent again it would refuse it again."""


class BudgetSpent(LlmError):
    """The budget of requests or tokens is used up; the answers so far are in the cache."""
