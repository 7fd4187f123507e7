"""`open`: questions whose reference no rule compares, for rejection sampling with a judge (R1 §2.3.3)."""

from __future__ import annotations

from data_recipes.builders.builder import Builder
from data_recipes.builders.formats.built import Built
from policies.json_types import JsonDict


def columns(built: Built) -> JsonDict:
    """Return question and reference."""
    return {"question": built.question, "answer": built.answer}


BUILDER = Builder(
    name="open",
    help="Questions with a reference in words, which a language model compares: `judge_correctness`.",
    kinds=("open",),
    columns=columns,
    sources=({"format": "reference", "source": "facebook/natural_reasoning", "licence": "CC-BY-NC-4.0"},),
    out="data/open.parquet",
    most={"open": 20000},
)
