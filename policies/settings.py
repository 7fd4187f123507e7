"""The base class of every config section, in the lowest package. It imports pydantic alone.

    steps: Operational[int] = Field(ge=1)      may change when a run is resumed; the change is recorded
    lr: Identity[float] = Field(3e-6, gt=0)    part of what the run is; a resumed run keeps it

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


Identity = Annotated[KeyT, KeyKind.IDENTITY]
"""A key that decides what is learnt, or which figures a run reports."""
Operational = Annotated[KeyT, KeyKind.OPERATIONAL]
"""A key that decides how, where and how long a run goes on; it changes rounding at most."""


class Settings(BaseModel):
    """A frozen section in which an unknown key is an error and every number is finite.

    Without the last rule nan would pass every check of the form `value < bound`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
