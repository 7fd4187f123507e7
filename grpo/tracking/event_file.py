"""TensorBoard's event file, written with TensorBoard's own record writer and protobufs: torch.utils.tensorboard would
load torch into the driver."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path


class EventFile:
    """Writes scalars, to one new file per (re)start; the file is opened for each write, so nothing needs closing."""

    def __init__(self, folder: Path, resume_step: int) -> None:
        self._folder = folder
        self._resume_step = resume_step
        self._path: Path | None = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append one scalar per entry."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        summary = Summary(value=[Summary.Value(tag=tag, simple_value=float(v)) for tag, v in values.items()])
        events = [Event(wall_time=time.time(), step=step, summary=summary)]
        if self._path is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"
            self._path = self._folder / name
            events = [*self._first_events(), *events]
        with self._path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())

    def _first_events(self) -> list[object]:
        """Return the format's version, and the event that makes a reader forget the steps that are done again."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.START)
        return [
            Event(wall_time=time.time(), file_version="brain.Event:2"),
            Event(wall_time=time.time(), step=self._resume_step + 1, session_log=start),
        ]
