"""The base of every config section. Here because `policies` is the lowest package; imports pydantic alone."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen and strict: an unknown key is an error, and nothing is coerced silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
