"""Windows over TCP, by a gloo process group of two for each engine: a dead engine costs only its own.

The learner listens at one address; an engine meets it there under its name, once, and keeps the connection.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol  # Any: the options of gloo's groups, of which torch's stubs lack some

import numpy as np
import ray
import torch
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore, Work

from rollout.errors import WeightSyncError
from rollout.publication import Channel, Source
from rollout.transport.layout import WindowPlan
from rollout.transport.stores import IN_FLIGHT, Store

TIMEOUT = timedelta(seconds=120)
"""Longest wait for the other side to connect, to send or to receive."""
_LEARNER, _ENGINE = 0, 1


class Group(Protocol):
    """The methods of a process group that are used here; torch's stubs lack them."""

    def send(self, tensors: list[torch.Tensor], rank: int, tag: int) -> Work:
        """Start to send a tensor to a rank."""

    def recv(self, tensors: list[torch.Tensor], rank: int, tag: int) -> Work:
        """Start to fill a tensor with what a rank sends."""


class GlooStore(Store):
    """Sends each window to every reader, in a thread per reader."""

    note = ""

    def __init__(self) -> None:
        self._host = node_address()
        self._server = TCPStore(self._host, 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        self._lines: dict[str, _Line] = {}
        self._sizes: list[int] = []
        self._memory: dict[int, torch.Tensor] = {}

    def prepare(self, windows: Sequence[WindowPlan], readers: Sequence[str]) -> Channel:
        """Open a line to every new reader and end those of the others that cannot be used; see `Store.prepare`."""
        self._sizes = [window.size for window in windows]
        self._memory.clear()
        self._lines = {name: line for name, line in self._lines.items() if not line.has_failed}
        for reader in readers:
            if reader not in self._lines:
                self._lines[reader] = _Line(self._host, self._server.port, reader)
        self._readers = tuple(readers)
        return GlooChannel(self._host, self._server.port)

    def after(self, index: int) -> int:
        """See `Store.after`."""
        return index - IN_FLIGHT

    def buffer(self, index: int) -> memoryview:
        """See `Store.buffer`."""
        data = np.empty(self._sizes[index], dtype=np.uint8)
        self._memory[index] = torch.from_numpy(data)
        return data.data

    def send(self, index: int) -> object:
        """Send the window to every reader of the stream, without waiting."""
        window = self._memory.pop(index)
        for reader in self._readers:
            self._lines[reader].send(window)
        return self._sizes[index]

    def close(self) -> None:
        """End the lines; one that hangs ends with the process."""
        for line in self._lines.values():
            line.close()


class _Line:
    """The learner's connection to one engine, and the thread that sends over it."""

    def __init__(self, host: str, port: int, reader: str) -> None:
        self.has_failed = False
        self._windows: deque[torch.Tensor | None] = deque()
        self._ready = threading.Condition()
        threading.Thread(target=self._run, args=(host, port, reader), daemon=True).start()

    def send(self, window: torch.Tensor) -> None:
        """Queue a window; a line that is further behind than any living engine can be is given up."""
        with self._ready:
            if len(self._windows) > IN_FLIGHT:
                self.has_failed = True
            if not self.has_failed:
                self._windows.append(window)
                self._ready.notify()

    def close(self) -> None:
        """Have the thread end after what is queued."""
        with self._ready:
            self._windows.append(None)
            self._ready.notify()

    def _run(self, host: str, port: int, reader: str) -> None:
        try:
            group = join(host, port, reader, _LEARNER)
            while (window := self._take()) is not None:
                if len(window):
                    group.send([window], _ENGINE, 0).wait(TIMEOUT)
                del window
        except RuntimeError:  # the engine has died, or never came: the driver sees that by itself
            self.has_failed = True
            self._windows.clear()

    def _take(self) -> torch.Tensor | None:
        with self._ready:
            while not self._windows:
                self._ready.wait()
            return self._windows.popleft()


@dataclass(frozen=True)
class GlooChannel(Channel):
    """Where the learner listens."""

    host: str
    port: int

    def connect(self, reader: str) -> Source:
        """Meet the learner, or use the connection of an earlier stream; see `Channel.connect`."""
        key = (self.host, self.port, reader)
        if key not in _CONNECTIONS:
            try:
                _CONNECTIONS[key] = join(self.host, self.port, reader, _ENGINE)
            except RuntimeError as error:
                raise WeightSyncError(
                    f"the learner at {self.host}:{self.port} does not answer: {error}"
                ) from error
        return _Received(_CONNECTIONS[key])


_CONNECTIONS: dict[tuple[str, int, str], Group] = {}
"""The engine's, which last as long as its process."""


class _Received(Source):
    def __init__(self, group: Group) -> None:
        self._group = group

    def read(self, place: object) -> memoryview:
        assert isinstance(place, int)
        data = np.empty(place, dtype=np.uint8)
        if place:
            try:
                self._group.recv([torch.from_numpy(data)], _LEARNER, 0).wait(TIMEOUT)
            except RuntimeError as error:
                raise WeightSyncError(f"a window of weights did not arrive: {error}") from error
        return data.data

    def close(self) -> None:
        pass


def join(host: str, port: int, reader: str, rank: int) -> Group:
    """Return the group of the learner, which listens at host and port, and the engine of this name.

    Raises:
        RuntimeError: the other side does not come in time.
    """
    # A connection of its own: whoever waits on a store holds up all others that share it.
    store = PrefixStore(reader, TCPStore(host, port, is_master=False, timeout=TIMEOUT))
    gloo: Any = ProcessGroupGloo
    options = gloo._Options()
    options._timeout = TIMEOUT
    options._devices = [gloo.create_device(hostname=node_address())]
    group: Group = gloo(store, rank, 2, options)
    return group


def node_address() -> str:
    """Return the address by which other nodes reach this process; localhost outside of Ray."""
    return ray.util.get_node_ip_address() if ray.is_initialized() else "127.0.0.1"
