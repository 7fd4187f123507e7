"""Makes the store that a recipe's `engine.transport` names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rollout.config import Transport
from rollout.transport.stores import LocalMemory, SharedMemory, Store
from rollout.weight_folders import WeightFolders


def make_store(transport: Transport | Literal["none"], roots: Sequence[Path]) -> Store:
    """Return the writing end of a transport.

    Args:
        transport: engine.transport with "auto" resolved; "none" for a rank that sends nothing, only takes part in
            putting tensors together.
        roots: folders for shared memory, best first.
    """
    if transport == "shared_memory":
        return SharedMemory(WeightFolders(roots))
    if transport == "object_store":
        from rollout.transport.object_store import ObjectStore

        return ObjectStore()
    if transport == "gloo":
        from rollout.transport.gloo import GlooStore

        return GlooStore()
    assert transport == "none", "engine.transport is resolved before"
    return LocalMemory()
