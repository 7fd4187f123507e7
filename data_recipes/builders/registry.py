"""The builders by name, in the order in which R1 needs their files."""

from __future__ import annotations

from data_recipes.builders import code, cold_start, general, non_reasoning, open_questions, reasoning
from data_recipes.builders.builder import Builder

BUILDERS: dict[str, Builder] = {
    module.BUILDER.name: module.BUILDER
    for module in (code, reasoning, cold_start, open_questions, general, non_reasoning)
}
"""Every builder by the name that `grpo data build` takes."""
