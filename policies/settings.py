"""The base class of every config section, in the lowest package. It imports pydantic alone."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen section in which an unknown key is an error and every number is finite.

    Without the last rule nan would pass every check of the form `value < bound`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
