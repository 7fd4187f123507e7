"""`cold-start`: prompts for R1-Zero's samples of the cold start, each with an answer that a rule compares."""

from __future__ import annotations

from data_recipes.builders.builder import Builder
from data_recipes.builders.formats.built import Built
from data_recipes.builders.reasoning import LOGIC, MATHS
from policies.json_types import JsonDict


def columns(built: Built) -> JsonDict:
    """Return question and answer."""
    return {"question": built.question, "answer": built.answer}


BUILDER = Builder(
    name="cold-start",
    help="Prompts for the cold start: maths and logic with an answer that a rule compares.",
    kinds=("math", "logic"),
    columns=columns,
    sources=(*MATHS, *LOGIC),
    out="data/cold_start_prompts.parquet",
    most={"math": 15000, "logic": 5000},
    is_ruled=True,
    before_year=2023,
)
