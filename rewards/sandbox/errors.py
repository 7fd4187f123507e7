"""Errors of the sandbox.

SandboxUnavailable (RewardError)   programs cannot be isolated as the settings require; the message has a hint
"""

from rewards.errors import RewardError


class SandboxUnavailable(RewardError):
    """Raised, before any program runs, if no sandbox that the settings allow can be used."""
