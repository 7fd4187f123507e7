"""Where the learner puts the windows of a stream, and how an engine reads them there; one pair of classes a transport.

shared memory   a ring in a file of /dev/shm, for engines of the learner's node (this file)
object store    Ray's, for engines of other nodes                               (rollout/transport/object_store.py)
gloo            a process group for each engine, over TCP                       (rollout/transport/gloo.py)
local           memory of this process, for an engine beside the learner        (this file)
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollout.errors import WeightSyncError
from rollout.publication import Channel, Source
from rollout.transport.layout import WINDOW_BYTES, RingPlace, WindowPlan, plan_ring, ring_bytes
from rollout.weight_folders import WeightFolders

IN_FLIGHT = 3
"""Windows in memory at a time where each has its own: one is written, one on its way, one read."""


class Store(Protocol):
    """The writing end of a transport."""

    note: str
    """What the user should know about the place: that the first choice had no room. Empty: nothing."""

    def prepare(self, windows: Sequence[WindowPlan], readers: Sequence[str]) -> Channel:
        """Make room for a stream's windows; returns what its readers need.

        Raises:
            NoRoomForWeights: there is none.
        """

    def after(self, index: int) -> int:
        """Return the index of the window that must have been read before this one may be written; -1: none."""

    def buffer(self, index: int) -> memoryview:
        """Return the memory to write a window into."""

    def send(self, index: int) -> object:
        """Hand over the window that was written; returns its place."""

    def close(self) -> None:
        """Free the room."""


class SharedMemory(Store):
    """A ring of some windows in a file that learner and engines of one node map."""

    def __init__(self, folders: WeightFolders, window_bytes: int = WINDOW_BYTES) -> None:
        """Take the run's folders and the size of the windows that will come."""
        self.note = ""
        self._folders, self._window_bytes = folders, window_bytes
        self._places: list[RingPlace] = []
        self._sizes: list[int] = []
        self._memory: mmap.mmap | None = None
        self._channel = MappedFile("")

    def prepare(self, windows: Sequence[WindowPlan], readers: Sequence[str]) -> Channel:
        """Take the space for the ring, at the first stream; see `Store.prepare`."""
        sizes = [window.size for window in windows]
        if sizes != self._sizes or self._memory is None:
            size = max(ring_bytes(windows, self._window_bytes), 1)
            path, self.note = self._folders.reserve(size)
            with path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), size)
            self._places, self._sizes = plan_ring(sizes, size), sizes
            self._channel = MappedFile(str(path))
        return self._channel

    def after(self, index: int) -> int:
        """See `Store.after`."""
        return self._places[index].after

    def buffer(self, index: int) -> memoryview:
        """See `Store.buffer`."""
        assert self._memory is not None, "prepare() comes first"
        start = self._places[index].offset
        return memoryview(self._memory)[start : start + self._sizes[index]]

    def send(self, index: int) -> object:
        """See `Store.send`."""
        return RingSlot(self._places[index].offset, self._sizes[index])

    def close(self) -> None:
        """Remove the run's folders; the memory goes with the last process that maps it."""
        self._memory = None
        self._folders.close()


@dataclass(frozen=True)
class MappedFile(Channel):
    """The ring's file, by its path on the node."""

    path: str

    def connect(self, reader: str) -> Source:
        """Map the file; see `Channel.connect`."""
        try:
            with open(self.path, "rb") as file:
                return _Mapped(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise WeightSyncError(f"cannot read {self.path}: {error}") from error


@dataclass(frozen=True)
class RingSlot:
    """Where a window lies in the file, in bytes."""

    start: int
    size: int


class _Mapped(Source):
    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def read(self, place: object) -> memoryview:
        assert isinstance(place, RingSlot)
        return memoryview(self._memory)[place.start : place.start + place.size]

    def close(self) -> None:
        pass  # views keep the mapping alive, and the last of them ends it


class LocalMemory(Store):
    """Memory of this process."""

    note = ""

    def prepare(self, windows: Sequence[WindowPlan], readers: Sequence[str]) -> Channel:
        """See `Store.prepare`."""
        self._sizes = [window.size for window in windows]
        self._buffers: dict[int, np.ndarray] = {}
        return LocalChannel()

    def after(self, index: int) -> int:
        """See `Store.after`."""
        return index - IN_FLIGHT

    def buffer(self, index: int) -> memoryview:
        """See `Store.buffer`."""
        self._buffers[index] = np.empty(self._sizes[index], dtype=np.uint8)
        return self._buffers[index].data

    def send(self, index: int) -> object:
        """Return the window's bytes themselves; the store keeps none."""
        return self._buffers.pop(index)

    def close(self) -> None:
        """See `Store.close`."""


class LocalChannel(Channel):
    """Reads windows whose place is their bytes."""

    def connect(self, reader: str) -> Source:
        """See `Channel.connect`."""
        return _Local()


class _Local(Source):
    def read(self, place: object) -> memoryview:
        assert isinstance(place, np.ndarray)
        return place.data

    def close(self) -> None:
        pass
