"""π_ref beside π_θ: a frozen copy of the policy's tensors on disk, mapped into memory only while it is used.

Of a policy that is divided over ranks each rank keeps its own parts.

Tensors that are not trained are the same in both and are not copied: for a policy with LoRA adapters the reference is
the adapters as they were, at first without effect.

Matrices are stored in the compute dtype, to which a forward rounds them anyway: with equal weights, reference and
policy give the same bits. The file has no name (it is unlinked once open), so it disappears however the process ends.
Its pages leave the resident set after each use and are read back from the page cache.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from grpo.training.shard_files import Shard, shard_of
from policies.shards import local

ALIGNMENT = 64
"""Bytes; any dtype can be viewed at such an offset."""


class FrozenWeights:
    """A read-only copy of named tensors."""

    def __init__(
        self, tensors: Mapping[str, Tensor], dtypes: Mapping[str, torch.dtype] | None = None
    ) -> None:
        """Copy the tensors to a temporary file, one after another.

        Args:
            tensors: by name.
            dtypes: types to store them in, where that is not their own.

        Raises:
            OSError: the folder for temporary files (TMPDIR) has no room.
        """
        layout, position = {}, 0
        for name, tensor in tensors.items():
            dtype = (dtypes or {}).get(name, tensor.dtype)
            layout[name] = (position, tensor, dtype)
            position += -(-tensor.numel() * dtype.itemsize // ALIGNMENT) * ALIGNMENT
        with tempfile.TemporaryFile(prefix="grpo-reference-") as file:
            # Reserve first: writing to a mapped file on a full disk would end the process by SIGBUS.
            os.posix_fallocate(file.fileno(), 0, max(position, 1))
            self._map = mmap.mmap(file.fileno(), max(position, 1))
        buffer = torch.frombuffer(self._map, dtype=torch.uint8)
        self.tensors: dict[str, Tensor] = {}
        for name, (start, tensor, dtype) in layout.items():
            size = tensor.numel() * dtype.itemsize
            view = buffer[start : start + size].view(dtype).view(tensor.shape)
            view.copy_(tensor)
            self.tensors[name] = view
        self.release()

    def release(self) -> None:
        """Take the pages out of the resident set; the next read maps them again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def snapshot(model: nn.Module, compute_dtype: torch.dtype) -> FrozenWeights:
    """Freeze the model's trained parameters and persistent buffers as they are now."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    live = _live(model)
    matrices = {
        name: compute_dtype
        for name, tensor in live.items()
        if isinstance(tensor, nn.Parameter) and tensor.ndim >= 2 and id(tensor) not in embeddings
    }
    return FrozenWeights({name: local(tensor) for name, tensor in live.items()}, matrices)


def shards(model: nn.Module, frozen: FrozenWeights, rank: int) -> Iterator[Shard]:
    """Yield the frozen tensors, this rank's parts, for a checkpoint; `load_shards` fills them in place."""
    for name, tensor in _live(model).items():
        yield shard_of(name, tensor, rank, frozen.tensors[name])


@contextmanager
def swap_weights(model: nn.Module, frozen: FrozenWeights) -> Iterator[None]:
    """Let the model compute with the frozen weights inside the block, without gradients.

    The block must not step the optimizer, and the caller frees gathered layers before and after it
    (grpo/training/sharding/wrap.py).
    """
    live = _live(model)
    divided = {name: tensor for name, tensor in live.items() if isinstance(tensor, DTensor)}
    own = {name: tensor.data for name, tensor in live.items() if name not in divided}
    # FSDP2 gathers from buffers of its own and would not see another `.data`: the contents change places.
    kept = {name: local(tensor).clone() for name, tensor in divided.items()}
    try:
        for name, tensor in live.items():
            if name in divided:
                local(tensor).copy_(frozen.tensors[name])
            else:
                tensor.data = frozen.tensors[name].to(tensor.device)
        with torch.no_grad():
            yield
    finally:
        for name, tensor in live.items():
            if name in divided:
                local(tensor).copy_(kept.pop(name))
            else:
                tensor.data = own[name]
        frozen.release()


def _live(model: nn.Module) -> dict[str, Tensor]:
    """Trained parameters (a tied one once) and persistent buffers by name: the model's own tensors, not copies."""
    state = model.state_dict(keep_vars=True)
    seen: set[int] = set()
    result = {}
    for name, tensor in state.items():
        is_frozen = isinstance(tensor, nn.Parameter) and not tensor.requires_grad
        if id(tensor) not in seen and not is_frozen:
            seen.add(id(tensor))
            result[name] = tensor
    return result
