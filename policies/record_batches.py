"""Rows of Arrow's record batches as Python values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from policies.json_types import JsonDict

if TYPE_CHECKING:
    import pyarrow as pa


def rows_of(batch: pa.RecordBatch) -> Iterator[JsonDict | Exception]:
    """Yield the rows of a record batch; for a row that Python cannot hold (text that is not UTF-8) its error."""
    try:
        yield from batch.to_pylist()
    except ValueError:
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except ValueError as error:
                yield error
