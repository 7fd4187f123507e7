"""The base class of every config section, in the lowest package. It imports pydantic alone.

    threads: Operational[int | None] = None    may change when a run is resumed; the change is recorded
    lr: Identity[float] = Field(3e-6, gt=0)    part of what the run is; a resumed run keeps it
    source: Content[str]                       the same, by what is found there and not by how it is spelled
    epochs: Length[int] = Field(2, ge=1)       operational; a finished run goes on when it is raised

Every key of every section has one of the two; `grpo.config.kinds` reads them, tests/grpo/config/test_kinds.py finds a
key without one. A section (a key whose type is a class of keys) has none: its own keys have.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar, Unpack, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from policies.paths import expand, expand_in

LARGEST_WHOLE = 2**63 - 1
"""What seeds of torch and numbers in Parquet can hold."""
LARGEST = 1e18
"""No quantity of a run is larger; float32 overflows at 3e38."""
LONGEST_S = 30 * 86_400
"""Longest time, in seconds, that a key may name; the clocks of Ray overflow at 1e18."""

KeyT = TypeVar("KeyT")


class KeyKind(StrEnum):
    """What a change of the key means for a run that exists."""

    IDENTITY = "identity"
    """The key decides what is learnt, or which figures the run reports: a resumed run keeps it."""
    OPERATIONAL = "operational"
    """The key decides how, where and how long the run goes on: it may change at every start."""


class KeyMark(StrEnum):
    """What else resuming must know of a key."""

    CONTENT = "content"
    """The value names a model or a data set: what is found there decides if it is the same."""
    CODE = "code"
    """The value may name a function in a file: the function's name and the file's content decide."""
    LENGTH = "length"
    """The value says how long the run goes on."""


Identity = Annotated[KeyT, KeyKind.IDENTITY]
"""A key that decides what is learnt, or which figures a run reports."""
Operational = Annotated[KeyT, KeyKind.OPERATIONAL]
"""A key that decides how, where and how long a run goes on; it changes rounding at most."""

MOST = dict.fromkeys(("threads", "workers", "ranks", "reward_workers", "tensor_parallel", "nodes"), 4096) | {
    "kv_cache_gib": 65536
}
"""Upper bounds by key, in whichever section it stands: more processes, threads or memory would exhaust a machine before
anything could report why."""


Content = Annotated[KeyT, KeyKind.IDENTITY, KeyMark.CONTENT]
"""An identity key whose value names something; the manifest of a run holds the digest of what that was."""
Code = Annotated[KeyT, KeyKind.IDENTITY, KeyMark.CODE]
"""An identity key that may name a function, `path/file.py:function`; the manifest holds the digest of the file."""
Length = Annotated[KeyT, KeyKind.OPERATIONAL, KeyMark.LENGTH]
"""An operational key that says how long a run goes on."""


class Settings(BaseModel):
    """A frozen section: an unknown key is an error, numbers are finite and fit 64 bits, seeds are not negative.

    Without finiteness nan would pass every check of the form `value < bound`. Keys that hold a `Path`, and those that a
    class names by `paths`, may contain `~` and environment variables (policies/paths.py):

        class PolicyConfig(Settings, paths=("model",)): …
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    path_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys whose text may name a file or folder, beside those that hold a `Path`."""

    def __init_subclass__(cls, paths: tuple[str, ...] = (), **config: Unpack[ConfigDict]) -> None:
        """Take the keys whose text may name a file, beside those of the base classes."""
        super().__init_subclass__(**config)
        cls.path_keys = cls.path_keys | frozenset(paths)

    @classmethod
    def names_path(cls, key: str) -> bool:
        """Return True if the key's value may name a file or folder."""
        return key in cls.path_keys or _holds_path(cls.model_fields[key].annotation)

    # After the types: a validator that runs before them hides from pydantic that a list comes from JSON.
    @field_validator("*", mode="after")
    @classmethod
    def _expanded(cls, value: object, info: ValidationInfo) -> object:
        if info.field_name is None or not cls.names_path(info.field_name):
            return value
        if isinstance(value, str):
            return expand(value)
        return Path(expand(str(value))) if isinstance(value, Path) else _expand_items(value)

    @field_validator("*", mode="after")
    @classmethod
    def _representable(cls, value: object, info: ValidationInfo) -> object:
        key = info.field_name or ""
        for number in _numbers(value):
            if isinstance(number, int) and abs(number) > LARGEST_WHOLE:
                raise ValueError(f"expected a whole number of at most 64 bits, {LARGEST_WHOLE}")
            if isinstance(number, float) and abs(number) > LARGEST:
                raise ValueError(f"expected a number between -{LARGEST:g} and {LARGEST:g}")
            if key in MOST and number > MOST[key]:
                raise ValueError(f"expected at most {MOST[key]:,}")
            if key.endswith("_s") and number > LONGEST_S:
                raise ValueError(f"expected at most {LONGEST_S} seconds (30 days)")
            if key == "seed" and number < 0:
                raise ValueError("expected 0 or more: seeds are not negative")
        return value


def _holds_path(annotation: object) -> bool:
    return annotation is Path or any(_holds_path(part) for part in get_args(annotation))


def _expand_items(value: object) -> object:
    """Expand every text of a list of paths; of a table, those that begin like a path, for it may hold other texts."""
    if isinstance(value, tuple):
        return tuple(expand(item) if isinstance(item, str) else item for item in value)
    return expand_in(value)


def _numbers(value: object) -> list[int | float]:
    if isinstance(value, tuple | list):
        return [number for item in value for number in _numbers(item)]
    if isinstance(value, dict):
        return [number for item in value.values() for number in _numbers(item)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []
