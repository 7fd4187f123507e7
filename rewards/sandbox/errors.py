"""Errors of the sandbox.

SandboxUnavailable (RewardError)   this host cannot isolate programs as the settings ask; the message names the mend
"""

from rewards.errors import RewardError


class SandboxUnavailable(RewardError):
    """No tier that the settings allow works on this host; raised before any program runs."""
