"""Finding samples: filters over cached columns, a text search over the parts that are left, a page of rows.

    found = search(parts, query, cache)        # parts: [(run, Part)], newest first
    rows = page_rows(found, query)             # the texts of one page, read from the few parts that it touches

Without an order of its own a text search stops as soon as the page is full; `found.scanned` says how far it came.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grpo.tracking.sample_row import component_of
from grpo.view.parts import Part, PartCache, column, read_part
from grpo.view.query import Query
from policies.json_types import JsonDict

if TYPE_CHECKING:
    import pyarrow as pa

Located = tuple[str, Part]
"""A part and the id of its run."""
SHOWN = (
    "id", "stage", "step", "prompt_id", "index", "question", "answer", "total", "verdict", "reason", "advantage",
    "discarded", "finish_reason", "tokens", "prompt", "completion",
)  # fmt: skip
"""Columns of a row of the page, beside the components."""
MAX_CHARS = 1200
"""Characters of a text in a row of the page; one sample's own page has the whole text."""
BLOCK = 32
"""Parts that a text search reads before it looks whether the page is full."""
DEFAULT_FIELDS = ("completion", "prompt")


@dataclass(frozen=True)
class Found:
    """The samples that pass, in order: `parts[which[i]]`, row `row[i]`."""

    parts: tuple[Located, ...]
    which: np.ndarray
    """(n,) int64: index into `parts`."""
    row: np.ndarray
    """(n,) int64: row of the part."""
    scanned: int
    """Samples that were looked at."""
    samples: int
    """Samples of all parts."""

    @property
    def is_whole(self) -> bool:
        """True if every sample was looked at."""
        return self.scanned == self.samples


def search(parts: Sequence[Located], query: Query, cache: PartCache, stop_early: bool = True) -> Found:
    """Find the samples that pass the query's filters, in its order.

    Args:
        parts: newest first.
        query: what to find.
        cache: of columns and of matches.
        stop_early: end a text search in file order once the page and one more are found.
    """
    wanted = query.offset + query.limit + 1 if stop_early and query.text and not query.sort else None
    which, rows, scanned, count = [], [], 0, 0
    for number, at in enumerate(_passing_each([part for _, part in parts], query, cache)):
        scanned += parts[number][1].rows
        if len(at):
            which.append(np.full(len(at), number, dtype=np.int64))
            rows.append(at)
            count += len(at)
        if wanted is not None and count >= wanted:
            break
    none = np.zeros(0, dtype=np.int64)
    found = Found(
        parts=tuple(parts),
        which=np.concatenate(which) if which else none,
        row=np.concatenate(rows) if rows else none,
        scanned=scanned,
        samples=sum(part.rows for _, part in parts),
    )
    return _sorted(found, query, cache) if query.sort else found


def page_rows(found: Found, query: Query) -> list[JsonDict]:
    """Return the rows of the query's page, with the run of each; long texts are cut around what was searched."""
    chosen = slice(query.offset, query.offset + query.limit)
    which, row = found.which[chosen], found.row[chosen]
    rows: list[JsonDict] = [{} for _ in which]
    for number in np.unique(which):
        run, part = found.parts[number]
        names = [*SHOWN, *part.file.components]
        at = np.flatnonzero(which == number)
        for place, values in zip(at, read_part(part, names).take(row[at]).to_pylist(), strict=True):
            rows[place] = _shown(run, part, values, query)
    return rows


def _shown(run: str, part: Part, values: JsonDict, query: Query) -> JsonDict:
    """Make one row of the page."""
    for name in ("prompt", "completion"):
        values[name] = excerpt(values[name], query.text, query.case)
    for name in ("question", "answer", "reason"):
        values[name] = None if values[name] is None else values[name][:MAX_CHARS]
    components = {component_of(name): values.pop(name) for name in part.file.components}
    return {"run": run, **values, "components": components}


def excerpt(text: str, found: str, case: bool) -> str:
    """Cut a text to `MAX_CHARS` around the first place where `found` stands in it."""
    if len(text) <= MAX_CHARS:
        return text
    at = text.find(found) if case else text.lower().find(found.lower())
    start = max(0, min(at - MAX_CHARS // 3, len(text) - MAX_CHARS))
    end = start + MAX_CHARS
    return ("… " if start else "") + text[start:end] + (" …" if end < len(text) else "")


def _passing_each(parts: Sequence[Part], query: Query, cache: PartCache) -> Iterator[np.ndarray]:
    """Yield the passing rows of each part in turn; texts are searched in blocks of parts, on all cores."""
    if not query.text:
        yield from (_passing(part, query, cache) for part in parts)
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(parts), BLOCK):
            yield from pool.map(lambda part: _passing(part, query, cache), parts[start : start + BLOCK])


def _passing(part: Part, query: Query, cache: PartCache) -> np.ndarray:
    """Return the rows of a part that pass every filter, ascending."""
    if query.stage and part.file.stage != query.stage:
        return np.zeros(0, dtype=np.int64)
    keep = np.ones(part.rows, dtype=bool)
    low, high = part.steps
    for name, least, most in query.bounds:
        if name == "step" and (
            low > (most if most is not None else high) or high < (least if least is not None else low)
        ):
            return np.zeros(0, dtype=np.int64)
        values = _numbers(part, name, cache)
        with np.errstate(invalid="ignore"):
            keep &= ~np.isnan(values)
            keep &= True if least is None else values >= least
            keep &= True if most is None else values <= most
    if query.truncated is not None:
        keep &= _equals(part, "finish_reason", "length", cache) == query.truncated
    if query.verdict:
        is_ok = query.verdict == "failed"
        keep &= _equals(part, "verdict", "ok" if is_ok else query.verdict, cache) != is_ok
    if query.discarded is not None:
        keep &= _equals(part, "discarded", True, cache) == query.discarded
    if query.prompt:
        keep &= _equals(part, "prompt_id", query.prompt, cache)
    if query.text and keep.any():
        keep &= _matches(part, query, cache)
    return np.flatnonzero(keep)


def _numbers(part: Part, name: str, cache: PartCache) -> np.ndarray:
    """Return a column as (rows,) float64, NaN for null."""
    import pyarrow as pa

    array = column(part, name, cache)
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
        return np.full(part.rows, np.nan)  # a text column of that name: no number passes a bound
    return np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _equals(part: Part, name: str, value: str | bool, cache: PartCache) -> np.ndarray:
    """Return (rows,) bool: the column has this value; False for null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column(part, name, cache)
    if pa.types.is_dictionary(array.type):
        at = pc.index(array.dictionary, value).as_py()
        return np.asarray(array.indices.fill_null(-1).to_numpy(zero_copy_only=False)) == (
            at if at >= 0 else -2
        )
    return np.asarray(pc.equal(array, value).fill_null(False).to_numpy(zero_copy_only=False))


def _matches(part: Part, query: Query, cache: PartCache) -> np.ndarray:
    """Return (rows,) bool: a searched text holds the query's; read from the file once, then cached as bits."""
    import pyarrow.compute as pc

    def look() -> pa.Array:
        table = read_part(part, [query.field] if query.field else DEFAULT_FIELDS)
        hits = None
        for array in table.columns:
            # As a regular expression: RE2 looks for the literal's bytes, several times faster than match_substring.
            hit = pc.match_substring_regex(array, literal(query.text), ignore_case=not query.case)
            hit = hit.combine_chunks().fill_null(False)
            hits = hit if hits is None else pc.or_(hits, hit)
        return hits

    hits = cache.get(part, ("text", query.text, query.field, query.case), look)
    return np.asarray(hits.to_numpy(zero_copy_only=False))


def literal(text: str) -> str:
    """Return the regular expression, in RE2's syntax, that matches this text alone."""
    return re.sub(r"[.+*?()\[\]{}|^$\\]", r"\\\g<0>", text)


def _sorted(found: Found, query: Query, cache: PartCache) -> Found:
    """Order by the query's column, samples without a value last, equal ones as they were."""
    values = np.full(len(found.which), np.nan)
    # In file order the rows of a part stand together.
    numbers, starts = np.unique(found.which, return_index=True)
    ends = np.append(starts[1:], len(values))[: len(starts)]
    for number, start, end in zip(numbers, starts, ends, strict=True):
        values[start:end] = _numbers(found.parts[number][1], query.sort, cache)[found.row[start:end]]
    keys = np.where(np.isnan(values), np.inf, -values if query.descending else values)
    order = np.argsort(keys, kind="stable")
    return Found(found.parts, found.which[order], found.row[order], found.scanned, found.samples)
