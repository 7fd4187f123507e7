"""Writes a policy for transformers and vLLM, a tensor at a time: config, safetensors with an index, tokenizer.

    save_policy(model, out_dir, tokenizer_from=folder)                    one process, all or nothing
    write_policy(model, out_dir, folder, part=rank, parts=ranks)          into a folder that exists, by all ranks

The ranks of a divided policy run through its tensors together. Each tensor is gathered when its turn comes, a large
matrix some rows at a time, and the rank whose file it belongs to writes it.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from policies.errors import GatherError
from policies.facts import INDEX_FILE, SINGLE_FILE
from policies.files import replace_folder, sync_tree
from policies.hf_names import named_rows
from policies.hf_pieces import pieces, stored_shape
from policies.load import own_tensors
from policies.model import HfModel, causal_lm
from policies.mtp import mtp_layers, shared_copies
from policies.released import released_config
from policies.shards import DividedRows
from policies.tensor_files import Entry, TensorFile

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)
MAX_FILE_BYTES = 5 * 10**9
"""Largest file of weights, as on the hub; a single larger tensor has a file of its own."""
MIN_FILE_BYTES = 1 << 26
"""Smaller files are not shared out over ranks."""


def save_policy(
    model: nn.Module,
    out_dir: Path | str,
    tokenizer_from: Path | str | None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """Write weights, config and tokenizer for transformers and vLLM; either all files appear or none.

    The files are written into a temporary folder next to `out_dir`, which is then renamed; it replaces an earlier
    `out_dir`.

    Args:
        model: a policy of this process alone. LoRA adapters are merged into the written weights; layers of multi-token
            prediction are written with their copies of embedding and head, as in published checkpoints.
        out_dir: the folder to create.
        tokenizer_from: folder whose tokenizer files are copied; None copies none.
        dtype: of the written weights.

    Returns:
        `out_dir`.
    """
    out_dir = Path(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", dir=out_dir.parent))
    try:
        write_policy(model, building, tokenizer_from, dtype=dtype)
        building.chmod(0o755)
        sync_tree(building)
        replace_folder(building, out_dir)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return out_dir


def write_policy(
    model: nn.Module,
    folder: Path,
    tokenizer_from: Path | str | None,
    *,
    part: int = 0,
    parts: int = 1,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the files of `save_policy` into an existing folder; the ranks of a divided policy call it together.

    A rank whose disk fails still takes part in gathering, and raises at the end; so does one that got wrong rows.

    Args:
        model: a policy, possibly divided over ranks.
        folder: the same on all ranks; they share its files out.
        tokenizer_from: as in `save_policy`.
        part, parts: number of this rank among those that write; the first also writes config, index and tokenizer.
        dtype: of the written weights.

    Raises:
        OSError: the disk is full or cannot be written.
        GatherError: a tensor was not put together right.
    """
    files = _plan(_entries(model, dtype), parts)
    tensors = _tensors(model)
    failure: OSError | GatherError | None = None
    if part == 0:
        try:
            _write_small_files(model, folder, files, tokenizer_from, dtype)
        except OSError as error:
            failure = error
    for number, (name, entries) in enumerate(files.items()):
        writer = _Writer(folder / name, entries, failure, dtype) if number % parts == part else None
        for entry in entries:
            found, tensor = next(tensors)
            assert found == entry.name, f"{found} comes where {entry.name} was planned"
            if isinstance(tensor, DividedRows):
                try:
                    for rows in tensor.blocks(number % parts):
                        if writer is not None:
                            writer.write_rows(rows)
                except GatherError as error:
                    failure = error
            elif writer is not None:
                writer.write(tensor)
        if writer is not None:
            failure = writer.close() or failure
    if failure is not None:
        raise failure


class _Writer:
    """A file that is written as far as the disk allows; after a failure the tensors are let pass."""

    def __init__(
        self, path: Path, entries: list[Entry], failure: Exception | None, dtype: torch.dtype
    ) -> None:
        self._failure, self._file, self._dtype = failure, None, dtype
        self._refused: OSError | None = None
        if failure is None:
            self._attempt(lambda: setattr(self, "_file", TensorFile(path, entries, {"format": "pt"})))

    def write(self, tensor: Tensor) -> None:
        file = self._file
        if file is not None and self._failure is None:
            self._attempt(lambda: file.write(tensor.to(self._dtype)))

    def write_rows(self, rows: Tensor) -> None:
        file = self._file
        if file is not None and self._failure is None:
            self._attempt(lambda: file.write_rows(rows.to(self._dtype)))

    def close(self) -> OSError | None:
        """Close the file; returns what the disk refused of it."""
        if self._file is not None:
            self._attempt(self._file.close)
        return self._refused

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self._failure = self._refused = error


def _entries(model: nn.Module, dtype: torch.dtype) -> list[Entry]:
    """Return all tensors of the export, in the order of `_tensors`; no communication."""
    found = [
        Entry(key, dtype, stored_shape(name, region))
        for name, tensor in own_tensors(model).items()
        for key, region in pieces(name, tensor.shape)
    ]
    base = causal_lm(model)
    first = base.config.num_hidden_layers
    for layer in range(first, first + len(mtp_layers(model))):
        for name, module in (
            ("embed_tokens", base.get_input_embeddings()),
            ("shared_head.head", base.get_output_embeddings()),
        ):
            shape = tuple(module.weight.shape)
            found.append(Entry(f"model.layers.{layer}.{name}.weight", dtype, shape))
    return found


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor | DividedRows]]:
    """Yield the tensors of the export, whole or by rows; a collective where the policy is divided."""
    yield from named_rows(model)
    yield from shared_copies(model)


def _plan(entries: list[Entry], parts: int) -> dict[str, list[Entry]]:
    """Return the tensors of each file, by its name."""
    total = sum(entry.nbytes for entry in entries)
    limit = min(MAX_FILE_BYTES, max(MIN_FILE_BYTES, -(-total // parts)))
    files: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if files[-1] and size + entry.nbytes > limit:
            files.append([])
            size = 0
        files[-1].append(entry)
        size += entry.nbytes
    if len(files) == 1:
        return {SINGLE_FILE: files[0]}
    return {f"model-{i:05d}-of-{len(files):05d}.safetensors": f for i, f in enumerate(files, 1)}


def _write_small_files(
    model: HfModel,
    folder: Path,
    files: dict[str, list[Entry]],
    tokenizer_from: Path | str | None,
    dtype: torch.dtype,
) -> None:
    config = copy.deepcopy(model.config)
    config.architectures, config.dtype = [type(model).__name__], str(dtype).removeprefix("torch.")
    config.save_pretrained(folder)
    file = folder / "config.json"
    released = released_config(json.loads(file.read_text("utf-8")))
    file.write_text(json.dumps(released, indent=2) + "\n", encoding="utf-8")
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    if len(files) > 1:
        index = {
            "metadata": {"total_size": sum(e.nbytes for f in files.values() for e in f)},
            "weight_map": {entry.name: name for name, entries in files.items() for entry in entries},
        }
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if tokenizer_from is not None:
        for name in TOKENIZER_FILES:
            if (source := Path(tokenizer_from) / name).is_file():
                shutil.copyfile(source, folder / name)
                (folder / name).chmod(0o644)
