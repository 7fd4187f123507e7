"""Gives memory back to the system: what the allocator has free, and what a tensor need not remember.

Engine and learner take turns on one machine; whichever has its turn needs the pages that the other no longer uses.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable

import torch
from torch import Tensor

_DONTNEED = 4
"""MADV_DONTNEED of Linux, the same on every architecture."""


def release(device: torch.device, unused: Iterable[Tensor] = ()) -> None:
    """Return the allocator's free pages, and those of tensors whose values nobody reads again.

    On a device nothing happens: it is not the host's memory that is short there.

    Args:
        device: where engine or learner computes.
        unused: on that device; see `forget`.
    """
    if device.type == "cpu":
        forget(unused)
        trim()


def trim() -> None:
    """Return the allocator's free pages (glibc; elsewhere nothing happens).

    Activations of a few MiB come from the heap, between tensors that stay; after an update more than a gigabyte of free
    holes would remain resident while the engine generates.
    """
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)


def forget(tensors: Iterable[Tensor]) -> None:
    """Let the pages of these tensors go, values and all; they come back, zeroed, as they are written.

    For tensors on a CPU (Linux; elsewhere, and on a device, nothing happens). Pages that a tensor's storage shares with
    something else stay.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.device.type != "cpu":
            continue
        start = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (storage.data_ptr() + storage.nbytes()) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > start:
            library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)
