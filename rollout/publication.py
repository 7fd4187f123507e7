"""What learner, driver and engines exchange about weights. No torch is imported here: the driver loads none.

A version of the weights travels as a stream of windows, each some whole layers. The driver passes descriptions on; the
bytes go from the learner to the engines by a transport (rollout/transport/):

    head = publication.begin()                  names, dtypes and shapes of all tensors
    for window in publication.windows(wait): …  where the next layers lie, with a digest per tensor
    tail = publication.finish()                 how many windows there were, and the canary
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rollout.adapter_base import AdapterBase
from rollout.canary import Canary


@dataclass(frozen=True)
class TensorSpec:
    """Dtype and shape of one published tensor."""

    dtype: str
    """safetensors' name, e.g. "BF16"."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Head:
    """What a stream will hold; an engine that has it knows if something is missing at the end."""

    version: int
    entries: Mapping[str, TensorSpec]
    """By Hugging Face checkpoint name, in the order of the stream."""
    channel: Channel
    """How an engine reads the windows."""
    base: AdapterBase | None = None
    """The entries are LoRA adapters of these weights, which an engine has; None: the entries are all weights."""

    @property
    def delivered(self) -> Collection[str]:
        """Checkpoint names of the tensors that an engine loads."""
        return self.entries if self.base is None else self.base.tensors


class Source(Protocol):
    """The reading end of a transport, in an engine's process."""

    def read(self, place: object) -> memoryview:
        """Return the bytes of a window, valid until the window counts as read.

        Raises:
            WeightSyncError: they cannot be read.
        """

    def close(self) -> None:
        """Let the transport's memory go."""


class Channel(Protocol):
    """What an engine needs to become a reader; picklable and small."""

    def connect(self, reader: str) -> Source:
        """Return the reading end.

        Args:
            reader: the engine's name among the readers of `Publication.begin`.

        Raises:
            WeightSyncError: the writer cannot be reached.
        """


@dataclass(frozen=True)
class WindowEntry:
    """One tensor of a window."""

    name: str
    start: int
    """Offset of its first byte in the window."""
    size: int
    """Bytes."""
    digest: str
    """Result of `rollout.wire.digest` for the tensor."""


@dataclass(frozen=True)
class Window:
    """Some consecutive tensors of a stream."""

    version: int
    index: int
    """0, 1, …"""
    entries: tuple[WindowEntry, ...]
    place: object
    """Where its bytes lie, for `Source.read`; picklable and small, but for a transport within one process."""


@dataclass(frozen=True)
class Tail:
    """The end of a stream."""

    version: int
    windows: int
    canary: tuple[Canary, ...] = ()


class Publication(Protocol):
    """One version of the policy's weights. It can be streamed again, to an engine that came later, while the learner
    still holds this version."""

    @property
    def version(self) -> int:
        """The policy version."""

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors that each reader gets; 0 before the stream has begun."""

    def begin(self, readers: Sequence[str], *, with_canary: bool = True) -> Head:
        """Start a stream.

        Args:
            readers: names of the engines that will read it; no other engine, dead or alive, has the same name.
            with_canary: the stream ends with the canary.

        Raises:
            WeightSyncError: the learner no longer holds this version.
            NoRoomForWeights: the transport has no room for a window.
        """

    def windows(self, wait: Callable[[int], None]) -> Iterator[Window]:
        """Yield the windows in order.

        Args:
            wait: returns when every engine has read the window of this index, whose memory is used again then.
        """

    def finish(self) -> Tail:
        """End the stream."""


READ_BACK_PARTS = 8
"""Loads after the first in which every tensor has been read back once."""


def needs_canary(loads: int, uncovered: Collection[str]) -> bool:
    """Return True if an engine's next load ends with the canary.

    The first load is verified whole, and mostly brings what the engine has started with: the second brings the first
    change. Then the canary's turn comes when all tensors have been read back once, but for a policy with tensors that
    cannot be read back: there it comes each time.

    Args:
        loads: that the engine has done.
        uncovered: see `SyncReport`.
    """
    return loads < 2 or loads % READ_BACK_PARTS == 0 or bool(uncovered)


@dataclass(frozen=True)
class SyncReport:
    """What an engine returns after a verified load of weights."""

    version: int
    tensors: int
    seconds: float
    canary_max_mismatch: float
    """Largest |Δ log-prob| over the canary's tokens, in nats; nan without a canary."""
    canary_mean_mismatch: float
    """Mean |Δ log-prob| over the canary's tokens, in nats."""
    read_back: int = 0
    """Tensors that were found, bit for bit, in the engine's own parameters after the load."""
    packed: tuple[str, ...] = ()
    """Tensors of the part read back that the engine keeps in a packed form only: of a matrix some columns were
    compared, for experts the canary vouches."""
    uncovered: tuple[str, ...] = ()
    """Tensors of the part read back of which nothing could be compared, or from which the engine computes others."""
