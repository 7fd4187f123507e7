"""An engine's end of a stream: reads windows, verifies every tensor, and knows at the end what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from rollout.errors import WeightSyncError
from rollout.publication import Head, Source, Tail, TensorSpec, Window, WindowEntry
from rollout.wire import DTYPES, as_tensor, digest_bytes, part_of

_VERIFIERS = ThreadPoolExecutor(1, "verify")
"""Digests windows while the engine loads them."""


class Receiver:
    """Reads one stream."""

    def __init__(self, head: Head, source: Source) -> None:
        """Take the start of a stream, and the end that reads it."""
        self.head = head
        self.digests: dict[str, str] = {}
        """Published digests of the tensors that have come."""
        self.problems: list[str] = []
        """What is wrong so far; `finish` raises it."""
        self._source = source
        self._next = 0

    def open(self, window: Window) -> tuple[dict[str, Tensor], Future[list[str]]]:
        """Return a window's tensors, views of its bytes, and the verdict of a thread that verifies them meanwhile.

        The window may be written over only when both are done with: when the verdict is there and the views are gone.
        """
        if window.version != self.head.version:
            self.problems.append(f"a window of version {window.version} came")
            return {}, _done()
        if window.index != self._next:
            self.problems.append(f"window {window.index} came, window {self._next} was expected")
        self._next = window.index + 1
        data = self._source.read(window.place)
        flat = as_tensor(data, torch.uint8, (len(data),))
        tensors: dict[str, Tensor] = {}
        checks: list[tuple[WindowEntry, TensorSpec, memoryview]] = []
        for entry in window.entries:
            spec = self.head.entries.get(entry.name)
            part = data[entry.start : entry.start + entry.size]
            if spec is None:
                self.problems.append(f"{entry.name} was not announced")
            elif entry.name in self.digests:
                self.problems.append(f"{entry.name} came twice")
            elif len(part) != _bytes(spec):
                self.problems.append(f"{entry.name} is cut short")
            else:
                self.digests[entry.name] = entry.digest
                tensors[entry.name] = part_of(flat, entry.start, DTYPES[spec.dtype], spec.shape)
                checks.append((entry, spec, part))
        return tensors, _VERIFIERS.submit(_verify, checks)

    def finish(self, tail: Tail) -> None:
        """Check that all of the stream came.

        Raises:
            WeightSyncError: tensors are missing, unexpected or corrupted; the message names all of them.
        """
        self.problems += missing(self.head.entries, self.digests)
        if tail.windows != self._next:
            self.problems.append(f"{self._next} of {tail.windows} windows came")
        self.close()
        if self.problems:
            raise WeightSyncError(f"weights of version {self.head.version}: " + "; ".join(self.problems))

    def close(self) -> None:
        """Let the transport's memory go."""
        self._source.close()


def missing(wanted: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    """Return a line for each name that did not come."""
    return [f"{name} is missing" for name in wanted if name not in found]


def _verify(checks: list[tuple[WindowEntry, TensorSpec, memoryview]]) -> list[str]:
    return [
        f"{entry.name} is corrupted (its digest differs)"
        for entry, spec, part in checks
        if digest_bytes(part, spec.dtype, spec.shape) != entry.digest
    ]


def _done() -> Future[list[str]]:
    future: Future[list[str]] = Future()
    future.set_result([])
    return future


def _bytes(spec: TensorSpec) -> int:
    size = DTYPES[spec.dtype].itemsize
    for length in spec.shape:
        size *= length
    return size
