"""Reads data sets through the library `datasets`: from the hub, or from a folder that `save_to_disk` wrote."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any  # Any: data sets of the library

from data_recipes.config import FILE_ENDINGS, DatasetConfig
from data_recipes.errors import DataError
from data_recipes.fields import ArrowRow, Row
from policies.json_types import JsonDict, JsonMapping
from policies.near_paths import did_you_mean_path

_OTHER_FILES = frozenset(
    {".csv", ".tsv", ".txt", ".ndjson", ".arrow", ".yaml", ".yml", ".xml", ".zip", ".gz", ".zst"}
)
"""Endings that a name on the hub does not have: the hub is not asked for half a minute for a file that is not here."""
_SAVED_SET, _SAVED_SPLITS = "state.json", "dataset_dict.json"


def is_saved(folder: Path) -> bool:
    """Return True for a folder that `save_to_disk` of a data set, or of several splits, wrote."""
    return (folder / _SAVED_SET).is_file() or (folder / _SAVED_SPLITS).is_file()


def saved_rows(folder: Path, split: str | None) -> Iterator[tuple[str, Row]]:
    """Yield (location, row) of a saved data set.

    Raises:
        DataError: it cannot be read, or has several splits and `split` names none of them.
    """
    import datasets

    try:
        found: Any = datasets.load_from_disk(str(folder))
    except Exception as error:  # the library passes on errors of a dozen other libraries
        raise DataError(f"{folder}: not a data set that `datasets` can load ({first_line(error)})") from error
    if isinstance(found, Mapping):
        name = split or ("train" if "train" in found else next(iter(found)) if len(found) == 1 else None)
        if name not in found:
            raise DataError(f"{folder}: split = {split!r}; it has {', '.join(found)}: set split to one")
        return _rows(f"{folder} {name}", found[name])
    if split is not None:
        raise DataError(
            f"{folder}: split = {split!r}, but it holds one data set without splits; leave it out"
        )
    return _rows(str(folder), found)


def hub_rows(config: DatasetConfig) -> Iterator[tuple[str, Row]]:
    """Yield (location, row) of a split on the hub; with streaming, rows are fetched as they are read.

    Raises:
        DataError: the hub does not give it; or the name is that of a file or folder here.
    """
    name = str(config.source)
    if Path(name).is_file():
        raise DataError(
            f"{name}: its ending determines how a file is read; supported are {', '.join(FILE_ENDINGS)}: "
            "rename or convert the file"
        )
    if Path(name).is_dir():
        raise DataError(f'{name}: a folder here; write source = "{name}/" to read it')
    suffix = Path(name).suffix.lower()
    if suffix in _OTHER_FILES or difflib.get_close_matches(suffix, FILE_ENDINGS, n=1, cutoff=0.7):
        raise DataError(
            f"{name}: no such file{did_you_mean_path(Path(name))}, and not a name on the hub; files end with "
            f"{', '.join(FILE_ENDINGS)}"
        )
    return _hub(config, name)


def _hub(config: DatasetConfig, name: str) -> Iterator[tuple[str, Row]]:
    import datasets

    split = config.split or "train"
    datasets.disable_progress_bars()
    options: JsonDict = {"revision": config.revision} if config.revision else {}
    options |= {"streaming": True} if config.streaming else {}
    try:
        table = datasets.load_dataset(name, config.subset, split=split, **options)
    except Exception as error:  # the library passes on errors of a dozen other libraries
        asked = "".join(
            f" of {what} {value!r}"
            for what, value in (("subset", config.subset), ("revision", config.revision))
            if value
        )
        raise DataError(
            f"{name}{did_you_mean_path(Path(name))}: the hub gave no split {split!r}{asked} "
            f"({first_line(error)}); check name, subset, split and revision, or without network "
            "download it elsewhere and set source to the file "
            f"({', '.join(FILE_ENDINGS)}) or to a folder of save_to_disk"
        ) from error
    yield from _rows(f"{name} {split}", table)


def _rows(name: str, table: Iterable[JsonMapping]) -> Iterator[tuple[str, Row]]:
    number = 0
    try:
        for number, row in enumerate(table, 1):
            yield f"{name}, row {number}", ArrowRow(row)
    except DataError:
        raise
    except Exception as error:  # a stream meets the network at any row
        raise DataError(
            f"{name}, after row {number}: the next row cannot be read ({first_line(error)})"
        ) from error


def first_line(error: BaseException, limit: int = 120) -> str:
    """Return the first line of an error's message, shortened."""
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= limit else f"{line[:limit]}…"
