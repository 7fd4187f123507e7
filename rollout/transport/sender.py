"""The learner's end of a stream: casts tensors into windows and digests them.

sender = Sender(SharedMemory(folders), wire_dtype=torch.bfloat16)
head = sender.begin(7, learner.named_tensors, readers)
window = sender.window(0), sender.window(1), …              in order, each once
tail = sender.finish(canary)

publication = publish(learner.named_tensors, version=7, canary=[…])       for an engine in this process
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from rollout.adapter_base import AdapterBase
from rollout.canary import Canary
from rollout.errors import WeightSyncError
from rollout.publication import Head, Publication, Tail, TensorSpec, Window, WindowEntry
from rollout.transport.layout import WINDOW_BYTES, WindowPlan, plan_windows
from rollout.transport.stores import LocalMemory, Store
from rollout.wire import (
    ALIGNMENT,
    DTYPE_NAMES,
    DTYPES,
    as_tensor,
    digest_bytes,
    dtype_on_wire,
    part_of,
)

NamedTensors = Callable[[], Iterable[tuple[str, Tensor]]]
"""Yields the tensors that an engine reads, by Hugging Face checkpoint name, anew at each call and always in the same
order; no MTP layer that the engine does not run, no output head that is tied."""


class Sender:
    """Writes streams, one after the other, into a store."""

    def __init__(
        self,
        store: Store,
        wire_dtype: torch.dtype | None = None,
        window_bytes: int = WINDOW_BYTES,
        base: AdapterBase | None = None,
    ) -> None:
        """Args:
        store: where the windows go.
        wire_dtype: dtype of floating tensors on the wire, `NEVER_CAST` excepted; None keeps each tensor's own.
        window_bytes: of a window; more where one layer has more.
        base: what the tensors, LoRA adapters then, are added to; None: they are all weights.
        """
        self.store, self._base = store, base
        self._wire_dtype, self._window_bytes = wire_dtype, window_bytes
        self._entries: dict[str, TensorSpec] = {}
        self._windows: list[WindowPlan] = []
        self._digests = ThreadPoolExecutor(1, "digest")
        self._tensors: Iterator[tuple[str, Tensor]] = iter(())
        self._version = -1

    def begin(self, version: int, tensors: NamedTensors, readers: Sequence[str]) -> Head:
        """Start a stream.

        Args:
            version: policy version.
            tensors: passed over once more at the first stream, to learn their shapes.
            readers: names of the engines that will read.

        Raises:
            ValueError: a tensor comes twice.
            NoRoomForWeights: the store has no room.
        """
        if not self._windows:
            self._entries = specs(tensors(), self._wire_dtype)
            sizes = {name: _bytes(spec) for name, spec in self._entries.items()}
            self._windows = plan_windows(sizes, self._window_bytes, ALIGNMENT)
        channel = self.store.prepare(self._windows, readers)
        self._tensors, self._version = iter(tensors()), version
        return Head(version, self._entries, channel, self._base)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors of a stream; 0 before the first."""
        return sum(map(_bytes, self._entries.values()))

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._windows)

    @torch.no_grad()
    def window(self, index: int) -> Window:
        """Write the next window; `store.after(index)` has been read.

        Raises:
            WeightSyncError: the tensors are others than those of the first stream.
        """
        plan = self._windows[index]
        with self.store.buffer(index) as memory:
            flat = as_tensor(memory, torch.uint8, (len(memory),))
            # A thread digests one tensor while this one casts the next.
            digests = [
                self._digests.submit(digest_bytes, *self._write(memory, flat, name, start))
                for name, start in zip(plan.names, plan.starts, strict=True)
            ]
            entries = tuple(
                WindowEntry(name, start, _bytes(self._entries[name]), digest.result())
                for name, start, digest in zip(plan.names, plan.starts, digests, strict=True)
            )
            del digests, flat
        return Window(self._version, index, entries, self.store.send(index))

    def skip(self, index: int) -> None:
        """Pass over the tensors of a window: what a rank does that only takes part in putting them together."""
        for _ in self._windows[index].names:
            next(self._tensors)

    def _write(
        self, memory: memoryview, flat: Tensor, name: str, start: int
    ) -> tuple[memoryview, str, tuple[int, ...]]:
        spec = self._entries[name]
        found, tensor = next(self._tensors, ("nothing", torch.empty(0)))
        if (found, tuple(tensor.shape)) != (name, spec.shape):
            raise WeightSyncError(
                f"weights of version {self._version}: {name} {list(spec.shape)} was expected, the learner has "
                f"{found} {list(tensor.shape)}"
            )
        part = memory[start : start + _bytes(spec)]
        part_of(flat, start, DTYPES[spec.dtype], spec.shape).copy_(tensor)
        return part, spec.dtype, spec.shape

    def finish(self, canary: Sequence[Canary]) -> Tail:
        """End the stream."""
        self._tensors = iter(())
        return Tail(self._version, len(self._windows), tuple(canary))

    def close(self) -> None:
        """Free the store."""
        self._digests.shutdown()
        self.store.close()


def specs(tensors: Iterable[tuple[str, Tensor]], wire_dtype: torch.dtype | None) -> dict[str, TensorSpec]:
    """Return dtype on the wire and shape of each tensor.

    Raises:
        ValueError: a tensor comes twice.
    """
    entries: dict[str, TensorSpec] = {}
    for name, tensor in tensors:
        if name in entries:
            raise ValueError(f"tensor {name!r} is published twice")
        dtype = dtype_on_wire(name, tensor.dtype, wire_dtype)
        entries[name] = TensorSpec(DTYPE_NAMES[dtype], tuple(tensor.shape))
    return entries


def _bytes(spec: TensorSpec) -> int:
    return torch.Size(spec.shape).numel() * DTYPES[spec.dtype].itemsize


class Published(Publication):
    """A version that a sender of this process streams."""

    def __init__(
        self, sender: Sender, version: int, tensors: NamedTensors, canary: Sequence[Canary] = ()
    ) -> None:
        """Keep the arguments of `Sender.begin` and `Sender.finish`."""
        self._sender, self._version, self._tensors, self._canary = sender, version, tensors, tuple(canary)
        self._with_canary = True

    @property
    def version(self) -> int:
        """The policy version."""
        return self._version

    @property
    def nbytes(self) -> int:
        """See `Publication.nbytes`."""
        return self._sender.nbytes

    def begin(self, readers: Sequence[str], *, with_canary: bool = True) -> Head:
        """See `Publication.begin`."""
        self._with_canary = with_canary
        return self._sender.begin(self._version, self._tensors, readers)

    def windows(self, wait: Callable[[int], None]) -> Iterator[Window]:
        """See `Publication.windows`."""
        for index in range(len(self._sender)):
            wait(self._sender.store.after(index))
            yield self._sender.window(index)

    def finish(self) -> Tail:
        """See `Publication.finish`."""
        return self._sender.finish(self._canary if self._with_canary else ())


def publish(
    tensors: NamedTensors | Mapping[str, Tensor],
    version: int,
    *,
    canary: Sequence[Canary] = (),
    wire_dtype: torch.dtype | None = None,
    store: Store | None = None,
    window_bytes: int = WINDOW_BYTES,
    base: AdapterBase | None = None,
) -> Publication:
    """Return one version of a policy's weights for engines to load. Nothing is copied before one does.

    Args:
        tensors: parameters and the buffers that a checkpoint holds, on any device; see `NamedTensors`.
        version: policy version.
        canary: prompts with the learner's log-probs under these weights.
        wire_dtype: dtype of floating tensors on the wire, `NEVER_CAST` excepted; None keeps each tensor's own.
        store: where the windows go; None: memory of this process, for an engine in it.
        window_bytes: of a window; more where one layer has more.
        base: see `Sender`.
    """
    named: NamedTensors = (lambda: tensors.items()) if isinstance(tensors, Mapping) else tensors
    return Published(Sender(store or LocalMemory(), wire_dtype, window_bytes, base), version, named, canary)
