"""Tensors that are divided over ranks, in files: each rank writes its own parts, and any other division reads them.

    save_shards(folder, "optimizer", shards, rank, ranks)     optimizer-00001-of-00004.safetensors, one file a rank
    load_shards(folder, "optimizer", shards)                  fills this rank's parts, whoever wrote them

A file is plain safetensors: its metadata says where each part begins in the whole tensor and how large that is. This is
not torch.distributed.checkpoint, whose index is a pickle. With one rank the file is NAME.safetensors, of whole tensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.distributed.tensor import DTensor

from policies.errors import BrokenCheckpoint
from policies.shards import local
from policies.tensor_files import (
    Entry,
    Piece,
    PieceReader,
    Region,
    TensorFile,
    common,
    own_region,
    read_header,
)

_PLACES = "places"
"""Metadata: {name: [offset of the part, shape of the whole tensor]} as JSON."""


@dataclass(frozen=True)
class Shard:
    """This rank's part of a named tensor."""

    name: str
    part: Tensor
    """The live values: plain, on any device."""
    region: Region
    """Where the part is in the whole tensor."""
    shape: tuple[int, ...]
    """Of the whole tensor."""
    is_first_copy: bool
    """False on ranks whose part is a copy of another rank's; None of them writes it."""


def shard_of(name: str, divided: Tensor, rank: int, part: Tensor | None = None) -> Shard:
    """Return the shard of a tensor; `part` is another tensor that is divided as it is. Plain ones are rank 0's."""
    own = local(divided) if part is None else part
    shape = tuple(divided.shape)
    if not isinstance(divided, DTensor):
        return Shard(name, own, own_region(divided), shape, is_first_copy=rank == 0)
    place = divided.device_mesh.get_coordinate()
    copies = [
        at for at, placement in zip(place or (), divided.placements, strict=True) if placement.is_replicate()
    ]
    return Shard(name, own, own_region(divided), shape, is_first_copy=not any(copies))


def save_shards(folder: Path, stem: str, shards: Iterable[Shard], rank: int, ranks: int) -> None:
    """Write this rank's file; no communication.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    # Wide types first keeps every tensor aligned.
    own = sorted((s for s in shards if s.is_first_copy), key=lambda s: -s.part.dtype.itemsize)
    entries = [Entry(s.name, s.part.dtype, tuple(s.part.shape)) for s in own]
    places = {s.name: [s.region.offset, s.shape] for s in own}
    with TensorFile(folder / _file_name(stem, rank, ranks), entries, {_PLACES: json.dumps(places)}) as file:
        for shard in own:
            file.write(shard.part)


def load_shards(folder: Path, stem: str, shards: Iterable[Shard]) -> None:
    """Read this rank's parts from the files of any number of ranks; no communication.

    Raises:
        BrokenCheckpoint: a file is missing or damaged, or a tensor is missing or has another shape or type.
    """
    stored: dict[str, list[tuple[Piece, Entry, tuple[int, ...]]]] = {}
    for file in _files(folder, stem):
        entries, metadata = read_header(file)
        try:
            places = json.loads(metadata[_PLACES])
            for name, entry in entries.items():
                offset, shape = places[name]
                piece = Piece(file, name, Region(tuple(offset), entry.shape))
                stored.setdefault(name, []).append((piece, entry, tuple(shape)))
        except (KeyError, ValueError, TypeError) as error:
            raise BrokenCheckpoint(f"{file}: does not say where its tensors belong ({error})") from error
    reader = PieceReader()
    for shard in shards:
        found = stored.get(shard.name, [])
        _check(folder, stem, shard, found)
        reader.read(shard.part, shard.region, [p for p, _, _ in found if common(p.region, shard.region)])
    reader.close()


def _check(folder: Path, stem: str, shard: Shard, found: list[tuple[Piece, Entry, tuple[int, ...]]]) -> None:
    expected = f"{shard.part.dtype} {shard.shape}"
    if not found:
        raise BrokenCheckpoint(f"{folder}: {stem} state {shard.name} is missing, expected {expected}")
    for piece, entry, shape in found:
        if (entry.dtype, shape) != (shard.part.dtype, shard.shape):
            raise BrokenCheckpoint(
                f"{piece.file}: {stem} state {shard.name} is {entry.dtype} {shape}, expected {expected}"
            )


def _file_name(stem: str, rank: int, ranks: int) -> str:
    return f"{stem}.safetensors" if ranks == 1 else f"{stem}-{rank + 1:05d}-of-{ranks:05d}.safetensors"


def _files(folder: Path, stem: str) -> list[Path]:
    """Return all files of a set.

    Raises:
        BrokenCheckpoint: one is missing; names it.
    """
    whole = folder / f"{stem}.safetensors"
    found = [re.search(r"-of-(\d+)\.safetensors$", p.name) for p in folder.glob(f"{stem}-*-of-*.safetensors")]
    counts = {int(match[1]) for match in found if match}
    if not counts:
        files = [whole]
    elif len(counts) == 1:
        (count,) = counts
        files = [folder / _file_name(stem, rank, count) for rank in range(count)]
    else:
        raise BrokenCheckpoint(f"{folder}: {stem} files of {sorted(counts)} ranks lie together")
    for file in files:
        if not file.is_file():
            raise BrokenCheckpoint(f"{file} is missing")
    return files
