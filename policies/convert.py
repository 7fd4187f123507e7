"""Converts a released checkpoint tensor by tensor: FP8 blocks to bfloat16, and back.

    convert("DeepSeek-V3", "DeepSeek-V3-bf16")            FP8 with scales → bfloat16, which everything here loads
    convert("runs/x/policy", "x-fp8", to="fp8")           the released layout: FP8, scales, quantization_config

One file of the source gives one file of the target, with the same names of tensors. A weight is read by slices, so the
memory is that of its result and some MiB. Each file appears whole, with the digest of what was written in
`conversion.json`, and is read again and compared; after an interruption the files that are whole are kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import xxhash
from torch import Tensor

from policies import fp8
from policies.errors import BrokenCheckpoint, PolicyError
from policies.export import TOKENIZER_FILES
from policies.facts import INDEX_FILE, SINGLE_FILE, read_config, stored_tensors
from policies.files import replace_folder, replacing, sync_tree, write_atomic
from policies.json_types import JsonDict
from policies.refusals import refusal
from policies.released import QUANTISED, released_config
from policies.tensor_files import (
    CHUNK_BYTES,
    Entry,
    Piece,
    PieceReader,
    Region,
    TensorFile,
    read_header,
    whole_region,
)

RECORD = "conversion.json"
BAND_BYTES = 1 << 22
"""Size in float32 of the rows that are converted at one time."""
Target = Literal["bfloat16", "fp8"]
_COPIED = (*TOKENIZER_FILES, "generation_config.json")


@dataclass(frozen=True)
class Conversion:
    """What was converted."""

    folder: Path
    tensors: int
    """Tensors of the new folder."""
    converted: int
    """Weights whose type changed."""
    kept_files: int
    """Files that an earlier attempt had written, or all if the folder was finished."""
    files: int


@dataclass(frozen=True)
class _Job:
    """One tensor of the new folder."""

    entry: Entry
    make: Callable[[PieceReader], Tensor]
    """Reads and converts it."""
    changes: bool
    """The weight gets another format."""


def convert(
    source: Path | str, out: Path | str, *, to: Target = "bfloat16", report: Callable[[str], None] = print
) -> Conversion:
    """Write the policy of `source` into a new folder in another type; see the module.

    Args:
        source: a model folder.
        out: the folder to create; one that was converted from the same source is verified instead.
        to: "bfloat16" from FP8, or "fp8" from weights that are not quantised.
        report: called with a line for every file.

    Raises:
        PolicyError: the source cannot be converted so, or `out` is another folder.
        BrokenCheckpoint: a scale is missing or has another shape; a weight is not finite; a file was not written right.
        OSError: the disk is full.
    """
    source, out = Path(source), Path(out)
    config = read_config(source)
    block = _check(source, config, to)
    plan = _plan(source, block, to)
    origin = _origin(source, to, plan)
    if out.exists():
        return _verify_finished(out, origin, plan, report)
    building = out.with_name(f".{out.name}.converting")
    building.mkdir(parents=True, exist_ok=True)
    for left in building.iterdir():  # halves of files, of an attempt that was killed
        if left.name not in (*plan, RECORD):
            left.unlink()
    record = _resume(building / RECORD, origin)
    kept = [name for name in plan if _is_whole(building / name, record["files"].get(name), plan[name])]
    _check_space(building, [job for name, jobs in plan.items() if name not in kept for job in jobs])
    for number, (name, jobs) in enumerate(plan.items(), 1):
        if name not in kept:
            record["files"][name] = _write(building / name, jobs)
            write_atomic(building / RECORD, json.dumps(record, indent=1) + "\n")
        report(f"{number}/{len(plan)}  {name}  {'kept' if name in kept else 'written'}, verified")
    _write_small_files(source, building, released_config(config, fp8.RELEASED if to == "fp8" else None), plan)
    sync_tree(building)
    replace_folder(building, out)
    return _summary(out, plan, len(kept))


def _check(source: Path, config: JsonDict, to: Target) -> tuple[int, int]:
    """Return the size of a block; refuse a source that cannot be converted."""
    if (reason := refusal(config)) is not None:
        raise PolicyError(f"{source / 'config.json'}: {reason}")
    quantised = bool(config.get("quantization_config"))
    if to == "fp8":
        if quantised:
            raise PolicyError(f"{source}: its weights are quantised already (quantization_config)")
        return fp8.BLOCK
    if not quantised:
        raise PolicyError(f"{source}: its weights are not quantised; use the folder as it is")
    try:
        return fp8.block_size(config)
    except PolicyError as error:
        raise PolicyError(f"{source / 'config.json'}: {error}") from error


def _plan(source: Path, block: tuple[int, int], to: Target) -> dict[str, list[_Job]]:
    """Return the weights of each new file, in the order of the source's."""
    stored = stored_tensors(source)
    headers = {file: read_header(file)[0] for file in sorted({file for file, _ in stored.values()})}
    entries = {name: headers[file][name] for name, (file, _) in stored.items()}
    plan: dict[str, list[_Job]] = {}
    for file, header in headers.items():
        jobs = plan.setdefault(file.name, [])
        for entry in header.values():
            if entry.name.endswith(fp8.SCALE):
                if entries.get(entry.name.removesuffix(fp8.SCALE), entry).dtype != fp8.FP8:
                    raise BrokenCheckpoint(f"{file}: {entry.name} belongs to no weight in FP8")
            elif entry.dtype == fp8.FP8:
                scale = entries.get(entry.name + fp8.SCALE)
                jobs.append(_dequantised(file, entry, scale, stored[scale.name][0] if scale else file, block))
            elif to == "fp8" and QUANTISED.fullmatch(entry.name):
                jobs += _quantised(file, entry, block)
            else:
                jobs.append(_copied(file, entry, to))
    for jobs in plan.values():
        # Each tensor of a file must begin at a multiple of its type's size: wider types first.
        jobs.sort(key=lambda job: -job.entry.dtype.itemsize)
    return {name: jobs for name, jobs in plan.items() if jobs}


def _dequantised(file: Path, entry: Entry, scale: Entry | None, at: Path, block: tuple[int, int]) -> _Job:
    if scale is None:
        raise BrokenCheckpoint(f"{file}: {entry.name} is FP8, and {entry.name}{fp8.SCALE} is missing")
    if len(entry.shape) != 2 or scale.shape != fp8.scale_shape(entry.shape, block):
        raise BrokenCheckpoint(
            f"{at}: {scale.name} has shape {scale.shape}, but {entry.name} of shape {entry.shape} in blocks of "
            f"{block[0]}x{block[1]} has another number of blocks"
        )

    def make(reader: PieceReader) -> Tensor:
        scales = torch.empty(scale.shape)
        reader.read(scales, whole_region(scale.shape), [Piece(at, scale.name, whole_region(scale.shape))])
        result = torch.empty(entry.shape, dtype=torch.bfloat16)
        for start, part in _bands(reader, file, entry, block[0]):
            first = start // block[0]
            own = scales[first : first + -(-len(part) // block[0])]
            result[start : start + len(part)] = _finite(fp8.dequantise(part, own, block), file, entry.name)
        return result

    return _Job(Entry(entry.name, torch.bfloat16, entry.shape), make, True)


def _quantised(file: Path, entry: Entry, block: tuple[int, int]) -> list[_Job]:
    shape = fp8.scale_shape(entry.shape, block)

    def values(reader: PieceReader) -> Tensor:
        result = torch.empty(entry.shape, dtype=fp8.FP8)
        for start, part in _bands(reader, file, entry, block[0]):
            result[start : start + len(part)] = fp8.quantise(_finite(part, file, entry.name), block)[0]
        return result

    def scales(reader: PieceReader) -> Tensor:
        return torch.cat([fp8.quantise(part, block)[1] for _, part in _bands(reader, file, entry, block[0])])

    return [
        _Job(Entry(entry.name, fp8.FP8, entry.shape), values, True),
        _Job(Entry(entry.name + fp8.SCALE, torch.float32, shape), scales, False),
    ]


def _copied(file: Path, entry: Entry, to: Target) -> _Job:
    dtype = entry.dtype
    if to == "fp8" and dtype == torch.float32 and not entry.name.endswith("e_score_correction_bias"):
        dtype = torch.bfloat16  # as released

    def make(reader: PieceReader) -> Tensor:
        result = torch.empty(entry.shape, dtype=dtype)
        reader.read(result, whole_region(entry.shape), [Piece(file, entry.name, whole_region(entry.shape))])
        return result

    return _Job(Entry(entry.name, dtype, entry.shape), make, False)


def _finite(part: Tensor, file: Path, name: str) -> Tensor:
    if not bool(torch.isfinite(part).all()):
        raise BrokenCheckpoint(f"{file}: {name} has numbers that are not finite")
    return part


def _bands(reader: PieceReader, file: Path, entry: Entry, block_rows: int) -> Iterator[tuple[int, Tensor]]:
    """Yield first row and float32 numbers of bands of whole blocks, a few MiB each."""
    rows, columns = entry.shape
    band = max(1, BAND_BYTES // (4 * columns * block_rows)) * block_rows
    for start in range(0, rows, band):
        region = Region((start, 0), (min(band, rows - start), columns))
        part = torch.empty(region.shape)
        reader.read(part, region, [Piece(file, entry.name, whole_region(entry.shape))])
        yield start, part


def _write(target: Path, jobs: list[_Job]) -> str:
    """Write a file, read it again, and return the digest of its tensors."""
    entries = [job.entry for job in jobs]
    reader, written = PieceReader(), xxhash.xxh3_128()
    with replacing(target) as temporary:
        with TensorFile(temporary, entries, {"format": "pt"}) as file:
            for job in jobs:
                tensor = job.make(reader)
                written.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
                file.write(tensor)
                del tensor  # before the next one is made
        reader.close()
        if _digest(temporary, entries) != written.hexdigest():
            raise BrokenCheckpoint(f"{target}: the disk does not hold what was written")
    return written.hexdigest()


def _digest(file: Path, entries: list[Entry]) -> str:
    """Return the digest of a file's tensors, in pieces of some MiB; "" if it holds others than `entries`."""
    if list(read_header(file)[0].values()) != entries:
        return ""
    state = xxhash.xxh3_128()
    with file.open("rb") as stream:
        stream.seek(8 + int.from_bytes(stream.read(8), "little"))
        while part := stream.read(CHUNK_BYTES):
            state.update(part)
    return state.hexdigest()


def _is_whole(file: Path, digest: str | None, jobs: list[_Job]) -> bool:
    entries = [job.entry for job in jobs]
    return digest is not None and file.is_file() and _digest(file, entries) == digest


def _origin(source: Path, to: Target, plan: dict[str, list[_Job]]) -> JsonDict:
    """Return what tells this conversion from another one."""
    files = {name: [(source / name).stat().st_size, (source / name).stat().st_mtime_ns] for name in plan}
    return {"source": str(source.resolve()), "to": to, "source_files": files}


def _resume(record: Path, origin: JsonDict) -> JsonDict:
    """Return the record of an earlier attempt at the same conversion, or a new one."""
    try:
        found: JsonDict = json.loads(record.read_text("utf-8"))
        same = {key: found[key] for key in origin} == origin and isinstance(found["files"], dict)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    return found if same else origin | {"files": {}}


def _verify_finished(
    out: Path, origin: JsonDict, plan: dict[str, list[_Job]], report: Callable[[str], None]
) -> Conversion:
    record = _resume(out / RECORD, origin)
    if not record["files"]:
        raise PolicyError(f"{out} exists and is no conversion of {origin['source']}; name another folder")
    for name, jobs in plan.items():
        if not _is_whole(out / name, record["files"].get(name), jobs):
            raise BrokenCheckpoint(f"{out / name}: not what was converted; remove {out} and convert again")
        report(f"{name}  verified")
    return _summary(out, plan, len(plan))


def _check_space(folder: Path, jobs: list[_Job]) -> None:
    needed = sum(job.entry.nbytes for job in jobs)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise PolicyError(f"{folder}: {needed / 1e9:,.1f} GB to write, {free / 1e9:,.1f} GB free")


def _write_small_files(source: Path, folder: Path, config: JsonDict, plan: dict[str, list[_Job]]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    entries = {job.entry: name for name, jobs in plan.items() for job in jobs}
    if list(plan) != [SINGLE_FILE]:
        index = {
            "metadata": {"total_size": sum(entry.nbytes for entry in entries)},
            "weight_map": {entry.name: name for entry, name in entries.items()},
        }
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _summary(folder: Path, plan: dict[str, list[_Job]], kept: int) -> Conversion:
    jobs = [job for file in plan.values() for job in file]
    return Conversion(folder, len(jobs), sum(job.changes for job in jobs), kept, len(plan))
