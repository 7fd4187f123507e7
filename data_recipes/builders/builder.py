"""What a builder is: which kinds of rows it takes from which public data sets, and which columns it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from data_recipes.builders.formats.built import Built, Kind
from policies.json_types import JsonDict

Check = Callable[[Built], None]
"""Raises LeftOut for a row that the builder does not take."""


def take_all(built: Built) -> None:
    """Take every row of the builder's kinds."""


@dataclass(frozen=True)
class Builder:
    """One data file of a recipe."""

    name: str
    help: str
    kinds: tuple[Kind, ...]
    """Kinds of rows that it takes."""
    columns: Callable[[Built], JsonDict]
    """The columns of a row beside id, kind, language, source and licence."""
    sources: Sequence[Mapping[str, object]]
    """Public data sets that it reads without a recipe, as keys of a `SourceConfig`."""
    out: str
    """The file that R1's recipe reads."""
    most: Mapping[Kind, int] = field(default_factory=dict)
    """Rows to keep of each kind, as R1's (table 4)."""
    has_reply: bool = False
    """True if it takes formats with a reply to learn, and those alone."""
    is_ruled: bool = False
    """True if a reward compares the answer: references that it would not accept are left out."""
    check: Check = take_all
    before_year: int | None = None
    """Problems of competitions from that year on are left out (R1: 2023)."""
