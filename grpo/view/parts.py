"""The sample files of a run as parts (the row groups of its Parquet files), and a cache of their columns.

A part never changes: sample files are written whole and renamed. So a column that was read stays true as long as the
file is there, and a page reads only the columns that it shows or filters by.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from grpo.tracking.sample_row import COLUMNS
from grpo.tracking.samples import sample_files

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CACHE_BYTES = 1 << 30
"""Columns kept in memory, all runs together."""
ARROW_SLACK = 64
"""Bytes that an entry counts beside its buffers."""


@dataclass(frozen=True)
class SampleFile:
    """One Parquet file of samples."""

    path: Path
    mtime_ns: int
    size: int
    stage: str
    """`train`, `eval` or `sample`: which part of the run wrote it."""
    rows: tuple[int, ...]
    """Rows of each row group."""
    components: tuple[str, ...]
    """Columns with rewards."""
    kept: tuple[str, ...]
    """Columns with what the recipe keeps of the prompts."""
    steps: tuple[tuple[int, int], ...]
    """Smallest and largest step of each row group."""
    metadata: pq.FileMetaData = field(compare=False, repr=False)
    """Parquet's footer, so that it is parsed once."""


@dataclass(frozen=True)
class Part:
    """One row group of a sample file."""

    file: SampleFile
    group: int

    @property
    def rows(self) -> int:
        """Samples in it."""
        return self.file.rows[self.group]

    @property
    def steps(self) -> tuple[int, int]:
        """Smallest and largest step in it."""
        return self.file.steps[self.group]


class PartCache:
    """What was computed of parts, by (file, row group, what); the least recently used goes first. Thread-safe."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        """Hold at most `limit` bytes of Arrow buffers."""
        self._limit, self._bytes = limit, 0
        self._entries: OrderedDict[tuple[object, ...], pa.Array] = OrderedDict()
        self._lock = Lock()

    def get(self, part: Part, what: object, make: Callable[[], pa.Array]) -> pa.Array:
        """Return the entry, made by `make` if it is not there."""
        key = (part.file.path, part.file.mtime_ns, part.file.size, part.group, what)
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        value = make()
        with self._lock:
            if key not in self._entries:
                self._entries[key] = value
                self._bytes += value.nbytes + ARROW_SLACK
            while self._bytes > self._limit and len(self._entries) > 1:
                _, dropped = self._entries.popitem(last=False)
                self._bytes -= dropped.nbytes + ARROW_SLACK
        return value


class RunParts:
    """The sample files of one run, found again whenever their folders change."""

    def __init__(self, run_dir: Path) -> None:
        """Read nothing yet."""
        self._run_dir = run_dir
        self._known: dict[Path, SampleFile] = {}
        self.problems: list[str] = []
        """Files that cannot be read, in words; a file that is gone or whole again is not among them."""
        self._lock = Lock()

    def version(self) -> tuple[object, ...]:
        """Return what changes when a sample file is written, replaced or removed."""
        return tuple(_stamp(self._run_dir / name) for name in ("samples", "eval", "parts", "samples.parquet"))

    def files(self) -> list[SampleFile]:
        """Return the files that are there now, oldest step first."""
        with self._lock:
            known, self._known, self.problems = self._known, {}, []
            found = []
            for stage, path in self._paths():
                try:
                    stat = path.stat()
                    file = known.get(path)
                    if file is None or (file.mtime_ns, file.size) != (stat.st_mtime_ns, stat.st_size):
                        file = open_file(path, stat.st_mtime_ns, stat.st_size, stage)
                except FileNotFoundError:  # removed by a run that resumes
                    continue
                except (OSError, ValueError) as error:
                    self.problems.append(f"{path.name}: {error}")
                    continue
                self._known[path] = file
                found.append(file)
            return found

    def parts(self) -> list[Part]:
        """Return every row group, oldest step first."""
        return [Part(file, group) for file in self.files() for group in range(len(file.rows))]

    def _paths(self) -> list[tuple[str, Path]]:
        folders = {"train": self._run_dir / "samples", "eval": self._run_dir / "eval"}
        found = [
            (step, stage, path) for stage, folder in folders.items() for step, path in sample_files(folder)
        ]
        listed = [(stage, path) for _, stage, path in sorted(found, key=lambda entry: entry[0])]
        whole = self._run_dir / "samples.parquet"
        if whole.exists():
            return [("sample", whole), *listed]
        return [
            *(("sample", path) for path in sorted((self._run_dir / "parts").glob("[0-9]*.parquet"))),
            *listed,
        ]


def open_file(path: Path, mtime_ns: int, size: int, stage: str) -> SampleFile:
    """Read a file's footer.

    Raises:
        ValueError, OSError: it is no Parquet file, or lacks columns of a sample.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    schema = metadata.schema.to_arrow_schema()
    missing = [name for name in COLUMNS if name not in schema.names]
    if missing:
        raise ValueError(f"no column {missing[0]!r}; not a file of samples")
    beside = [field for field in schema if field.name not in COLUMNS]
    at = metadata.schema.names.index("step")
    steps = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(at).statistics
        known = statistics is not None and statistics.has_min_max
        steps.append((statistics.min, statistics.max) if known else (0, 2**62))
    return SampleFile(
        path=path,
        mtime_ns=mtime_ns,
        size=size,
        stage=stage,
        rows=tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)),
        components=tuple(field.name for field in beside if pa.types.is_floating(field.type)),
        kept=tuple(field.name for field in beside if not pa.types.is_floating(field.type)),
        steps=tuple(steps),
        metadata=metadata,
    )


def read_part(part: Part, columns: Sequence[str]) -> pa.Table:
    """Read columns of a part; returns an Arrow table, one chunk a column. A column that the file lacks is missing."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(part.file.path, metadata=part.file.metadata) as file:
        return file.read_row_group(part.group, columns=list(columns), use_threads=False).combine_chunks()


def column(part: Part, name: str, cache: PartCache) -> pa.Array:
    """Return one column of a part as an Arrow array, from the cache if it is there; all null if the file lacks it."""
    import pyarrow as pa

    def read() -> pa.Array:
        if name not in COLUMNS and name not in part.file.components and name not in part.file.kept:
            return pa.nulls(part.rows, pa.float64())
        chunks = read_part(part, [name]).column(0).chunks
        array = chunks[0] if chunks else pa.nulls(0)
        return array.dictionary_encode() if name in ("verdict", "finish_reason", "prompt_id") else array

    return cache.get(part, name, read)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size
