"""What `grpo plan` is told: the machine, and of each stage what its config does not say. Pydantic alone."""

from __future__ import annotations

from pydantic import Field

from policies.settings import Settings


class PlanConfig(Settings):
    """`[plan]`: the machine."""


class StagePlan(Settings):
    """`[stages.NAME.plan]`: one stage."""

    prompt_tokens: float | None = Field(None, gt=0)
    """Mean length of a prompt."""
