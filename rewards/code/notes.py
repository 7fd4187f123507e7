"""What a launch says about the programs of reward `code`."""

from __future__ import annotations

from collections.abc import Sequence

from rewards.config import RewardConfig
from rewards.sandbox.packages import describe_imports
from rewards.sandbox.settings import SandboxSettings


def import_notes(rewards: Sequence[RewardConfig]) -> list[str]:
    """Return a line for each reward `code` of other settings: what its programs may import.

    Otherwise a reader finds out from a sample's reason, "No module named 'numpy'", after the program got a 0.
    """
    settings = [
        SandboxSettings(**reward.params.get("sandbox", {})) for reward in rewards if reward.name == "code"
    ]
    return [f"reward code: {describe_imports(one)}" for one in dict.fromkeys(settings)]
