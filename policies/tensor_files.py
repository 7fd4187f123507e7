"""Safetensors files written one tensor at a time, and parts of tensors read straight to where they belong.

    with TensorFile(path, entries, metadata) as file:     header first, from names, types and shapes
        file.write(tensor)                                 in the order of the entries
    PieceReader().read(target, region, pieces)             what the pieces hold of a region of a whole tensor

safetensors' own `save_file` wants all tensors in memory and `load_file` gives whole ones; a rank of a divided policy
has room for neither.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any  # safetensors' handles have no types

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from policies.errors import BrokenCheckpoint

CHUNK_BYTES = 1 << 24
"""Bytes read at one time: what a read holds beside its target."""
MAPPED_BYTES = 1 << 26
"""Bytes read before a file is opened anew: pages of a mapped file count as the process's memory until then."""

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Entry:
    """A tensor of a file before it is written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Region:
    """A block of a tensor: where it begins and how large it is, per axis."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    def within(self, outer: Region) -> tuple[slice, ...]:
        """Return the slices of this block in a tensor that holds `outer`."""
        return tuple(
            slice(own - base, own - base + size)
            for own, base, size in zip(self.offset, outer.offset, self.shape, strict=True)
        )


@dataclass(frozen=True)
class Piece:
    """A tensor of a file that is a block of a whole one; axes of size 1 in front may be missing in the file."""

    file: Path
    key: str
    region: Region


def whole_region(shape: Sequence[int]) -> Region:
    """Return the region that is all of a tensor."""
    return Region((0,) * len(shape), tuple(shape))


def own_region(tensor: Tensor) -> Region:
    """Return which block this rank has of a tensor that is divided over ranks; of a plain one, all."""
    if not isinstance(tensor, DTensor):
        return whole_region(tensor.shape)
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return Region(tuple(offset), tuple(shape))


def common(a: Region, b: Region) -> Region | None:
    """Return the block that two regions share; None if there is none."""
    start = tuple(map(max, a.offset, b.offset))
    end = (min(x + m, y + n) for x, m, y, n in zip(a.offset, a.shape, b.offset, b.shape, strict=True))
    shape = tuple(e - s for s, e in zip(start, end, strict=True))
    return Region(start, shape) if all(size > 0 for size in shape) else None


class PieceReader:
    """Reads parts of tensors from safetensors files; the one that it reads stays open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._file: Any = None
        self._mapped = 0

    def read(self, target: Tensor, region: Region, pieces: Sequence[Piece]) -> None:
        """Fill a tensor with a region of a whole one, converted to the tensor's type.

        Args:
            target: a plain tensor on any device, of the region's shape.
            region: of the whole tensor.
            pieces: blocks of the whole tensor that do not overlap; those outside of the region are not read.

        Raises:
            BrokenCheckpoint: a file cannot be read, or the pieces do not cover the region; names file or tensor.
        """
        filled = 0
        for piece in pieces:
            if (block := common(region, piece.region)) is not None:
                self._copy(target.detach()[block.within(region)], block, piece)
                filled += block.count
        if filled != region.count:
            names = sorted({piece.file.name for piece in pieces})
            raise BrokenCheckpoint(
                f"{pieces[0].file.parent if pieces else 'checkpoint'}: {filled} of {region.count} elements of "
                f"{pieces[0].key if pieces else 'a tensor'} are in {', '.join(names) or 'no file'}"
            )

    def close(self) -> None:
        """Close the open file."""
        if self._file is not None:
            self._file.__exit__(None, None, None)
        self._path = self._file = None
        self._mapped = 0

    def _copy(self, into: Tensor, block: Region, piece: Piece) -> None:
        try:
            source = self._open(piece.file).get_slice(piece.key)
            missing_axes = into.ndim - len(source.get_shape())
            into, where = into[(0,) * missing_axes], block.within(piece.region)[missing_axes:]
            if not where:
                into.copy_(self._file.get_tensor(piece.key))
                return
            rows = max(1, CHUNK_BYTES * len(into) // max(1, into.nbytes))
            for start in range(0, len(into), rows):
                stop = min(start + rows, len(into))
                part = source[(slice(where[0].start + start, where[0].start + stop), *where[1:])]
                into[start:stop].copy_(part)
                self._mapped += part.nbytes
                if self._mapped >= MAPPED_BYTES:
                    del source, part
                    self.close()
                    source = self._open(piece.file).get_slice(piece.key)
        except BrokenCheckpoint:
            raise
        except Exception as error:
            if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":
                raise
            raise BrokenCheckpoint(f"{piece.file}: cannot be read ({error})") from error

    def _open(self, path: Path) -> Any:
        from safetensors import safe_open

        if self._path != path:
            self.close()
            self._file = safe_open(path, framework="pt").__enter__()  # type: ignore[no-untyped-call]
            self._path = path
        return self._file


class TensorFile:
    """A safetensors file whose tensors are written one after another."""

    def __init__(
        self, path: Path, entries: Sequence[Entry], metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write the header.

        Args:
            path: the file to create.
            entries: all tensors, in the order of the calls of `write`; wider types first, so that each is aligned.
            metadata: texts beside the tensors.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        position = 0
        for entry in entries:
            header[entry.name] = {
                "dtype": _NAMES[entry.dtype],
                "shape": entry.shape,
                "data_offsets": [position, position + entry.nbytes],
            }
            position += entry.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._left = list(entries)
        self._rows = 0
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def write(self, tensor: Tensor) -> None:
        """Write the next tensor.

        Raises:
            OSError: the disk is full or cannot be written.
            ValueError: it has another type or shape than its entry, or rows of it were written before.
        """
        entry = self._left[0]
        if self._rows:
            raise ValueError(f"{entry.name}: {self._rows} rows of it were written before")
        if (tensor.dtype, tuple(tensor.shape)) != (entry.dtype, entry.shape):
            raise ValueError(
                f"{entry.name} is {tensor.dtype} {tuple(tensor.shape)}, not {entry.dtype} {entry.shape}"
            )
        self._put(tensor)
        self._left.pop(0)

    def write_rows(self, rows: Tensor) -> None:
        """Write the next rows of the next tensor, which has at least one axis.

        Raises:
            OSError: the disk is full or cannot be written.
            ValueError: they have another type or width than their entry, or are too many.
        """
        entry = self._left[0]
        done = self._rows + len(rows)
        if (rows.dtype, *rows.shape[1:]) != (entry.dtype, *entry.shape[1:]) or done > entry.shape[0]:
            raise ValueError(
                f"rows up to {done} of {entry.name} are {rows.dtype} {tuple(rows.shape)}, not of {entry.dtype} "
                f"{entry.shape}"
            )
        self._put(rows)
        self._rows = done
        if done == entry.shape[0]:
            self._left.pop(0)
            self._rows = 0

    def _put(self, tensor: Tensor) -> None:
        flat = tensor.detach().contiguous().reshape(-1)
        for part in flat.split(max(1, CHUNK_BYTES // tensor.dtype.itemsize)):  # type: ignore[no-untyped-call]
            self._file.write(part.cpu().view(torch.uint8).numpy().data)

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: the last bytes cannot be written.
            ValueError: a tensor was not written.
        """
        self._file.close()
        if self._left:
            raise ValueError(f"{self._left[0].name} was not written")

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


def read_header(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return the tensors by name and the metadata of a safetensors file.

    Raises:
        BrokenCheckpoint: the file cannot be read.
    """
    types = {name: dtype for dtype, name in _NAMES.items()}
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError("it is cut short")
            header = json.loads(stream.read(length))
        metadata = header.pop("__metadata__", {})
        entries = {
            name: Entry(name, types[entry["dtype"]], tuple(entry["shape"])) for name, entry in header.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenCheckpoint(f"{file}: cannot be read ({error})") from error
    return entries, metadata
