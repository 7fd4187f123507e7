"""Reads what W&B writes offline: its protocol buffers in LevelDB's log format (32 KiB blocks of checked records)."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK, _HEADER, _FILE_HEADER = 32768, 7, 7


def records(path: Path) -> Iterator[bytes]:
    """Yield each record of a .wandb file; one may stand in pieces in several blocks."""
    data, position, parts = path.read_bytes(), _FILE_HEADER, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        if kind == 0:
            return
        parts += data[position + _HEADER : position + _HEADER + length]
        position += _HEADER + length
        if kind in (1, 4):  # whole, or the last piece
            yield parts
            parts = b""


def offline_run(folder: Path) -> dict[str, Any]:
    """Return id, project, name, exit code, config and history of one offline run."""
    from wandb.proto import wandb_internal_pb2 as pb

    (path,) = folder.glob("run-*.wandb")
    found: dict[str, Any] = {"history": [], "config": {}}
    for raw in records(path):
        record = pb.Record()
        record.ParseFromString(raw)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {
                "id": record.run.run_id,
                "project": record.run.project,
                "name": record.run.display_name,
            }
        elif kind == "config":
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
        elif kind == "history":
            row = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            found["history"].append({k: v for k, v in row.items() if not k.startswith("_") or k == "_step"})
    return found
