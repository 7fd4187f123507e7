"""What the page asks of the samples, as a checked value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any  # Any: values of different classes, by the name of the field

FIELDS = ("completion", "prompt", "answer", "reason")
"""Texts that a search can look into; "" for the first two."""
STAGES = ("train", "eval", "sample")
VERDICTS = ("ok", "abstain", "timeout", "error")
SORTS = ("step", "total", "tokens", "advantage", "mean_logprob")
MAX_LIMIT = 200
YES = {"yes": True, "no": False}


class BadQuery(ValueError):
    """A parameter of a request is wrong; names it."""


@dataclass(frozen=True)
class Query:
    """Filters, order and page of a request for samples; None and "" filter nothing."""

    text: str = ""
    """Substring, without regard to case unless `case`."""
    field: str = ""
    """One of `FIELDS`."""
    case: bool = False
    stage: str = ""
    """One of `STAGES`."""
    step_min: float | None = None
    step_max: float | None = None
    reward: str = "total"
    """`total`, or the column of a component: what the next two bound."""
    reward_min: float | None = None
    reward_max: float | None = None
    tokens_min: float | None = None
    tokens_max: float | None = None
    advantage_min: float | None = None
    advantage_max: float | None = None
    truncated: bool | None = None
    verdict: str = ""
    """One of `VERDICTS`, or `failed`: any but ok."""
    discarded: bool | None = None
    prompt: str = ""
    """A prompt's id."""
    sort: str = ""
    """One of `SORTS` or a component's column; "": newest step first, in the order of the file."""
    descending: bool = True
    offset: int = 0
    limit: int = 50

    @property
    def bounds(self) -> list[tuple[str, float | None, float | None]]:
        """(column, smallest, largest) of every number that is bounded."""
        found = [
            ("step", self.step_min, self.step_max),
            (self.reward, self.reward_min, self.reward_max),
            ("tokens", self.tokens_min, self.tokens_max),
            ("advantage", self.advantage_min, self.advantage_max),
        ]
        return [bound for bound in found if bound[1:] != (None, None)]


def parse_query(parameters: Mapping[str, str]) -> Query:
    """Read a request's parameters; those that are no field of `Query` are left to others, empty ones are not given.

    Raises:
        BadQuery: a value is not of the field's kind; names field, value and what is allowed.
    """
    given: dict[str, str] = {f.name: parameters[f.name] for f in fields(Query) if parameters.get(f.name)}
    read: dict[str, Callable[[str, str], object]] = {
        **dict.fromkeys(("case", "descending", "truncated", "discarded"), _yes_or_no),
        **dict.fromkeys((f.name for f in fields(Query) if f.name.endswith(("_min", "_max"))), _number),
        "field": _one_of(FIELDS),
        "stage": _one_of(STAGES),
        "verdict": _one_of((*VERDICTS, "failed")),
        "offset": _count(2**53),
        "limit": _count(MAX_LIMIT),
    }
    checked: dict[str, Any] = {name: read[name](name, given[name]) for name in given if name in read}
    return Query(**{**given, **checked})


def _yes_or_no(name: str, value: str) -> bool:
    if value not in YES:
        raise BadQuery(f"{name} = {value!r}: yes or no")
    return YES[value]


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise BadQuery(f"{name} = {value!r}: not a number")
    return number


def _count(most: int) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if not value.isdecimal() or int(value) > most:
            raise BadQuery(f"{name} = {value!r}: a whole number from 0 to {most}")
        return int(value)

    return read


def _one_of(allowed: tuple[str, ...]) -> Callable[[str, str], str]:
    def read(name: str, value: str) -> str:
        if value not in allowed:
            raise BadQuery(f"{name} = {value!r}: one of {', '.join(allowed)}")
        return value

    return read
