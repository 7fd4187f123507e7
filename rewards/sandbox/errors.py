"""Errors of the sandbox.

SandboxUnavailable (RewardError)   programs cannot be isolated as the settings ask; the message has a hint
"""

from rewards.errors import RewardError


class SandboxUnavailable(RewardError):
    """No sandbox that the settings allow can be used; raised before any program runs."""
