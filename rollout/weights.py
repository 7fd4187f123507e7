"""Transport of weights from the learner to the engines, verified by digests. No vLLM or Ray is imported here.

    publication = publish(named_tensors(policy), version=7, directory=folder, canary=[…])     # rollout.weight_folders
    tensors     = read_and_verify(publication)      # or an error that names every wrong tensor
    check_canary(publication.canary, engine.prompt_logprobs(…), tolerance, version=7)     # rollout.canary

The bytes are one safetensors file: in shared memory for workers of the same node, or inline (`inline=True`), which the
object store carries to workers of other nodes. A digest covers raw bytes, dtype and shape, so it verifies the
transport. Errors that come later, inside an engine that repacks its weights, show in the canary: log-probs of fixed
prompts, computed by the learner and by the engine.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
import xxhash
from torch import Tensor

from policies.json_types import JsonDict
from rollout.canary import Canary
from rollout.errors import NoRoomForWeights, WeightSyncError
from rollout.publication import Publication, TensorEntry
from rollout.weight_folders import MB, forget_versions, free_bytes

DTYPE_NAMES: dict[torch.dtype, str] = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of safetensors' header by dtype."""
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}

NEVER_CAST = ("e_score_correction_bias", ".mlp.gate.weight")
"""Endings of names that keep their dtype on the wire: the routers' bias and weight. The bias moves by 1e-3 and less a
step, below bfloat16's resolution near 1. Engine and learner compute their routers in float32 (rollout/vllm_router.py);
rounded values would route tokens to other experts than the learner's."""

ALIGNMENT = 64
"""Tensors start at multiples of so many bytes, so that every dtype can be viewed without a copy."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def digest(tensor: Tensor) -> str:
    """Return the xxh3-128 of a tensor's raw bytes, dtype and shape, as 32 hex digits."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return _digest(flat.numpy().data, DTYPE_NAMES[tensor.dtype], tuple(tensor.shape))


def _digest(data: memoryview, dtype: str, shape: tuple[int, ...]) -> str:
    state = xxhash.xxh3_128(f"{dtype}{list(shape)}".encode())
    state.update(data)
    return state.hexdigest()


def publish(
    tensors: Iterable[tuple[str, Tensor]],
    version: int,
    directory: Path | None,
    wire_dtype: torch.dtype | None = None,
    canary: Sequence[Canary] = (),
    inline: bool = False,
    note: str = "",
) -> Publication:
    """Write one version where engines can read it, and delete older versions, first if there is no room for both.

    Args:
        tensors: parameters and the buffers that a checkpoint holds, by Hugging Face checkpoint name, on any device.
            Only what the engine reads: no MTP layer that it does not run, no output head that is tied.
        version: policy version.
        directory: a folder that only this run uses (`rollout.weight_folders`); created if missing. None with `inline`.
        wire_dtype: dtype of floating tensors in the file, `NEVER_CAST` excepted; None keeps each tensor's dtype.
        canary: prompts with the learner's log-probs under these weights.
        inline: return the bytes instead of writing a file.
        note: for the publication.

    Returns:
        The publication. Its file appears whole or not at all, and stays until the next one.

    Raises:
        ValueError: neither a directory nor `inline`.
        NoRoomForWeights: it does not fit into the directory; nothing is left there.
    """
    plan = [(name, t.detach(), _wire_dtype(name, t, wire_dtype)) for name, t in tensors]
    header, offsets = _header(plan)
    total = len(header) + (offsets[-1][1] if offsets else 0)
    if inline:
        buffer = np.empty(total, dtype=np.uint8)
        manifest = _fill(buffer.data, header, plan, offsets)
        return Publication(version, manifest, tuple(canary), inline=buffer)

    if directory is None:
        raise ValueError("a publication needs a directory, or inline=True")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"weights-{version}.safetensors"
    partial = directory / f".writing-{version}-{os.getpid()}"
    if free_bytes(directory) < total:
        forget_versions(directory)
    try:
        with open(partial, "w+b") as file:
            _reserve(file.fileno(), total, version, directory)
            with mmap.mmap(file.fileno(), total) as mapped, memoryview(mapped) as view:
                manifest = _fill(view, header, plan, offsets)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    forget_versions(directory, but=path)
    return Publication(version, manifest, tuple(canary), path=str(path), note=note)


def _reserve(file: int, total: int, version: int, directory: Path) -> None:
    """Take the space first: writing to a mapped file on a full disk would end the process by SIGBUS.

    Raises:
        NoRoomForWeights: there is less.
    """
    try:
        if free_bytes(directory) < total:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.posix_fallocate(file, 0, total)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise NoRoomForWeights(
            f"version {version} has {total / MB:,.1f} MB, {directory} has {free_bytes(directory) / MB:,.1f} MB "
            f"free ({error.strerror})"
        ) from error


def _wire_dtype(name: str, tensor: Tensor, wire_dtype: torch.dtype | None) -> torch.dtype:
    if wire_dtype is None or not tensor.is_floating_point() or name.endswith(NEVER_CAST):
        return tensor.dtype
    return wire_dtype


_Plan = Sequence[tuple[str, Tensor, torch.dtype]]


def _header(plan: _Plan) -> tuple[bytes, list[tuple[int, int]]]:
    """Return safetensors' header (length, JSON, padding) and each tensor's byte range after it."""
    offsets: list[tuple[int, int]] = []
    entries: dict[str, object] = {}
    position = 0
    for name, tensor, dtype in plan:
        if name in entries:
            raise ValueError(f"tensor {name!r} is published twice")
        end = position + tensor.numel() * dtype.itemsize
        offsets.append((position, end))
        entries[name] = {
            "dtype": DTYPE_NAMES[dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(entries).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text, offsets


def _fill(
    view: memoryview, header: bytes, plan: _Plan, offsets: Sequence[tuple[int, int]]
) -> dict[str, TensorEntry]:
    """Write header and tensors, cast to their dtype in the file; returns the manifest."""
    view[: len(header)] = header
    manifest = {}
    for (name, tensor, dtype), (start, end) in zip(plan, offsets, strict=True):
        shape = tuple(tensor.shape)
        with view[len(header) + start : len(header) + end] as part:
            if end > start:
                _as_tensor(part, dtype, shape).copy_(tensor)
            manifest[name] = TensorEntry(DTYPE_NAMES[dtype], shape, _digest(part, DTYPE_NAMES[dtype], shape))
    return manifest


def _as_tensor(data: memoryview | np.ndarray, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return a view of the bytes, without a copy; the caller guarantees byte order and alignment."""
    if len(data) == 0:
        return torch.empty(tuple(shape), dtype=dtype)
    with warnings.catch_warnings():
        # The object store returns read-only memory; nothing writes to these views.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.frombuffer(data, dtype=torch.uint8).view(dtype).reshape(tuple(shape))


def read_and_verify(publication: Publication) -> dict[str, Tensor]:
    """Return the published tensors, each verified by its digest, as views of the published bytes.

    Raises:
        WeightSyncError: tensors are missing, unexpected, of another dtype or shape, or corrupted; the message names
            all of them.
    """
    data, entries, base = _open(publication)
    wanted = publication.manifest
    problems = [f"{name} is missing" for name in wanted if name not in entries]
    problems += [f"{name} is not in the manifest" for name in entries if name not in wanted]
    tensors: dict[str, Tensor] = {}
    for name, entry in wanted.items():
        if name not in entries:
            continue
        found = entries[name]
        shape, (start, end) = tuple(found["shape"]), found["data_offsets"]
        if (found["dtype"], shape) != (entry.dtype, entry.shape):
            problems.append(
                f"{name} is {found['dtype']} {list(shape)}, not {entry.dtype} {list(entry.shape)}"
            )
            continue
        part = data[base + start : base + end]
        if len(part) != end - start:
            problems.append(f"{name} is cut short")
        elif _digest(part, entry.dtype, shape) != entry.digest:
            problems.append(f"{name} is corrupted (its digest differs)")
        else:
            tensors[name] = _as_tensor(part, DTYPES[entry.dtype], shape)
    if problems:
        raise WeightSyncError(f"weights of version {publication.version}: " + "; ".join(problems))
    return tensors


def _open(publication: Publication) -> tuple[memoryview, dict[str, JsonDict], int]:
    """Return (bytes, safetensors header, start of the tensors)."""
    if publication.inline is not None:
        data = publication.inline.data
    else:
        try:
            with open(str(publication.path), "rb") as file:
                # Private pages: torch wants writable memory. Views keep the mapping alive.
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
        except (OSError, ValueError) as error:
            raise WeightSyncError(
                f"weights of version {publication.version}: cannot read {publication.path}: {error}"
            ) from error
    try:
        base = 8 + int.from_bytes(data[:8], "little")
        entries = json.loads(bytes(data[8:base]))
        entries.pop("__metadata__", None)
    except ValueError as error:
        raise WeightSyncError(f"weights of version {publication.version}: broken header ({error})") from error
    return data, entries, base
