"""Give freed memory back to the system."""

from __future__ import annotations

import ctypes
import sys


def trim() -> None:
    """Return the allocator's free pages (glibc; elsewhere nothing happens).

    Activations of a few MiB come from the heap, between tensors that stay; after an update more than a gigabyte of free
    holes would remain resident while the engine generates.
    """
    if sys.platform.startswith("linux"):
        library = ctypes.CDLL(None)
        if hasattr(library, "malloc_trim"):
            library.malloc_trim(0)
