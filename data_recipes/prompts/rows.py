"""Reads the rows of a data set with their locations, so that errors can name them.

for where, row in read_rows(config): …       ("gsm8k_test.jsonl, line 7", {"question": …, "answer": …})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from data_recipes.config import GYM_PREFIX, DatasetConfig, source_kind, sources_of
from data_recipes.errors import DataError
from data_recipes.fields import Row
from data_recipes.procedural import PROCEDURAL
from data_recipes.prompts.files import OnBad, file_rows, find_files
from data_recipes.prompts.hub import hub_rows, is_saved, saved_rows

PEEKED = 64
"""Rows that the shape of a data set is recognised from."""


def read_rows(config: DatasetConfig, on_bad: OnBad = None) -> Iterator[tuple[str, Row]]:
    """Yield all rows of the source as (location, row), lazily, in their order.

    Args:
        config: the source.
        on_bad: called with the error of a line or Parquet row that cannot be read, to continue; None raises it.

    Raises:
        DataError: the source or a row cannot be read; the message names file, line and a fix.
    """
    return chain.from_iterable([_one(config, source, on_bad) for source in sources_of(config.source)])


class PeekedRows:
    """The rows of a source, read once, of which the first can be seen before the others are read."""

    def __init__(self, config: DatasetConfig) -> None:
        """Open the source and read its first rows.

        Raises:
            DataError: the source cannot be read.
        """
        self._held: list[tuple[str, Row] | DataError] = []
        self._on_bad: Callable[[DataError], None] = self._held.append
        self._rest = read_rows(config, on_bad=lambda error: self._on_bad(error))
        for found in islice(self._rest, PEEKED):
            self._held.append(found)
        self.first = [item[1] for item in self._held if not isinstance(item, DataError)]
        """The first rows that can be read, without their locations."""

    def read(self, on_bad: Callable[[DataError], None]) -> Iterator[tuple[str, Row]]:
        """Yield all rows as `read_rows` does, the first ones included; call it once."""
        for item in self._held:
            if isinstance(item, DataError):
                on_bad(item)
            else:
                yield item
        self._on_bad = on_bad
        yield from self._rest


def _one(config: DatasetConfig, source: str, on_bad: OnBad) -> Iterator[tuple[str, Row]]:
    kind = source_kind(source)
    if kind == "procedural":
        return _procedural(config, source)
    if kind == "gym":
        from data_recipes.prompts.reasoning_gym import gym_rows

        task = source.removeprefix(GYM_PREFIX)
        return gym_rows(task, config.split or "train", config.seed, config.params)
    if kind == "hub":
        return hub_rows(config)
    folder = Path(source).expanduser()
    if is_saved(folder):
        return saved_rows(folder, config.split)
    if config.split is not None:
        raise DataError(
            f"{source}: split = {config.split!r}: not a folder of save_to_disk, so it has no splits; leave it out"
        )
    return chain.from_iterable(file_rows(path, on_bad) for path in find_files(source))


def _procedural(config: DatasetConfig, source: str) -> Iterator[tuple[str, Row]]:
    try:
        yield from PROCEDURAL[source].rows(config.seed, config.split or "train", config.params)
    except ValueError as error:
        raise DataError(f"{source}: {error}") from error
