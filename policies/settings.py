"""The base of every config section. Here because `policies` is the lowest package; imports pydantic alone."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen and strict: an unknown key is an error, nothing is coerced silently, and numbers are finite: a nan passes
    every bound that is asked as `value < bound`."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
