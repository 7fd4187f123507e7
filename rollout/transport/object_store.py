"""Windows in Ray's object store, for engines of any node: the learner puts them there, an engine's node fetches them.

The learner's process owns the objects; the driver passes references on and never holds a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any  # of Ray's references, which are not typed

import numpy as np
import ray

from rollout.errors import WeightSyncError
from rollout.publication import Channel, Source
from rollout.ray_errors import explain
from rollout.transport.layout import WindowPlan
from rollout.transport.stores import IN_FLIGHT, Store

GET_TIMEOUT_S = 300.0
"""Longest wait for a window to arrive from another node."""


class ObjectStore(Store):
    """Puts each window as one object, and lets it go when the window three later is written."""

    note = ""

    def __init__(self) -> None:
        self._sizes: list[int] = []
        self._memory = np.empty(0, dtype=np.uint8)
        self._objects: dict[int, object] = {}

    def prepare(self, windows: Sequence[WindowPlan], readers: Sequence[str]) -> Channel:
        """See `Store.prepare`."""
        self._sizes = [window.size for window in windows]
        self._objects.clear()
        if len(self._memory) != max(self._sizes, default=0):
            self._memory = np.empty(max(self._sizes, default=0), dtype=np.uint8)
        return ObjectChannel()

    def after(self, index: int) -> int:
        """See `Store.after`."""
        return index - IN_FLIGHT

    def buffer(self, index: int) -> memoryview:
        """See `Store.buffer`."""
        self._objects.pop(index - IN_FLIGHT, None)
        return self._memory.data[: self._sizes[index]]

    def send(self, index: int) -> object:
        """Put the window into the store."""
        place = StoredWindow(ray.put(self._memory[: self._sizes[index]]))
        self._objects[index] = place
        return place

    def close(self) -> None:
        """See `Store.close`."""
        self._objects.clear()


@dataclass(frozen=True)
class StoredWindow:
    """A reference that Ray leaves a reference, because it stands within another object."""

    reference: Any


class ObjectChannel(Channel):
    """Reads windows whose place is a reference."""

    def connect(self, reader: str) -> Source:
        """See `Channel.connect`."""
        return _Objects()


class _Objects(Source):
    def read(self, place: object) -> memoryview:
        assert isinstance(place, StoredWindow)
        try:
            found: np.ndarray = ray.get(place.reference, timeout=GET_TIMEOUT_S)
        except ray.exceptions.RayError as error:
            raise WeightSyncError(f"a window of weights did not arrive: {explain(error)}") from error
        return found.data

    def close(self) -> None:
        pass
