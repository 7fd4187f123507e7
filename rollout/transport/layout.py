"""How a version's tensors are divided into windows, and where the windows lie in a ring of memory. Arithmetic alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rollout.layer_names import layer_of

WINDOW_BYTES = 32 * 2**20
"""Bytes of a window, unless a layer alone has more: each costs two messages, and two are on their way at a time."""


@dataclass(frozen=True)
class WindowPlan:
    """One window of every stream of a run."""

    names: tuple[str, ...]
    starts: tuple[int, ...]
    """Offsets of the tensors' first bytes."""
    size: int
    """Bytes, a multiple of the alignment."""


@dataclass(frozen=True)
class RingPlace:
    """Where a window lies in a ring."""

    offset: int
    after: int
    """Index of the last window that must have been read before this one may be written; -1: none."""


def plan_windows(sizes: Mapping[str, int], window_bytes: int, alignment: int) -> list[WindowPlan]:
    """Divide tensors into windows of whole layers, in order.

    An engine packs a layer when it has all of it, and until then it refers to the window's memory. So a layer is never
    cut; a tensor outside of layers (embedding, head) counts as one.

    Args:
        sizes: bytes by name, in the order of the stream.
        window_bytes: of a window; more only where one layer has more.
        alignment: tensors start at its multiples.
    """
    units = [list(names) for _, names in groupby(sizes, key=lambda name: layer_of(name) or name)]
    windows: list[WindowPlan] = []
    names: list[str] = []
    starts: list[int] = []
    used = 0

    def close() -> None:
        nonlocal names, starts, used
        if names:
            windows.append(WindowPlan(tuple(names), tuple(starts), used))
        names, starts, used = [], [], 0

    for unit in units:
        need = sum(_aligned(sizes[name], alignment) for name in unit)
        if used + need > window_bytes:
            close()
        for name in unit:
            names.append(name)
            starts.append(used)
            used += _aligned(sizes[name], alignment)
    close()
    return windows


def ring_bytes(windows: Sequence[WindowPlan], window_bytes: int) -> int:
    """Return the size of a ring: the largest window and two more, but never more than all windows together."""
    largest = max((window.size for window in windows), default=0)
    return min(largest + 2 * window_bytes, sum(window.size for window in windows))


def plan_ring(sizes: Sequence[int], capacity: int) -> list[RingPlace]:
    """Place windows one after the other in a ring, each in one piece.

    Args:
        sizes: bytes of the windows.
        capacity: bytes of the ring, at least the largest window.

    Returns:
        A place per window; a window overlaps none that is later than `after`.
    """
    places: list[RingPlace] = []
    position = 0
    for index, size in enumerate(sizes):
        if size > capacity:
            raise ValueError(f"a window of {size} bytes in a ring of {capacity}")
        if position + size > capacity:
            position = 0
        overlapped = [
            before
            for before in range(index)
            if places[before].offset < position + size and position < places[before].offset + sizes[before]
        ]
        places.append(RingPlace(position, max(overlapped, default=-1)))
        position += size
    return places


def _aligned(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
