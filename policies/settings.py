"""The base class of every config section, in the lowest package. It imports pydantic alone.

    threads: Operational[int | None] = None    may change when a run is resumed; the change is recorded
    lr: Identity[float] = Field(3e-6, gt=0)    part of what the run is; a resumed run keeps it
    source: Content[str]                       the same, by what is found there and not by how it is spelled
    epochs: Length[int] = Field(2, ge=1)       operational; a finished run goes on when it is raised

Every key of every section has one of the two; `grpo.config.kinds` reads them, tests/grpo/config/test_kinds.py finds a
key without one. A section (a key whose type is a class of keys) has none: its own keys have.
"""

from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict

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


Content = Annotated[KeyT, KeyKind.IDENTITY, KeyMark.CONTENT]
"""An identity key whose value names something; the manifest of a run holds the digest of what that was."""
Code = Annotated[KeyT, KeyKind.IDENTITY, KeyMark.CODE]
"""An identity key that may name a function, `path/file.py:function`; the manifest holds the digest of the file."""
Length = Annotated[KeyT, KeyKind.OPERATIONAL, KeyMark.LENGTH]
"""An operational key that says how long a run goes on."""


class Settings(BaseModel):
    """A frozen section in which an unknown key is an error and every number is finite.

    Without the last rule nan would pass every check of the form `value < bound`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
