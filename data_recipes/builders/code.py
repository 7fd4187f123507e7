"""`code`: problems with tests and programs, right and wrong, for `grpo tests build` and `r1-reasoning`."""

from __future__ import annotations

from data_recipes.builders.builder import Builder
from data_recipes.builders.formats.built import Built
from policies.json_types import JsonDict


def columns(built: Built) -> JsonDict:
    """Return the problem, its tests and its programs."""
    return {
        "question": built.question,
        "tests": built.tests,
        "entry_point": built.entry_point,
        "setup": built.setup,
        "programming_language": built.programming_language,
        "correct": list(built.correct),
        "wrong": list(built.wrong),
    }


BUILDER = Builder(
    name="code",
    help="Programming problems with tests, right and wrong programs.",
    kinds=("code",),
    columns=columns,
    sources=(
        {"format": "code-contests", "source": "deepmind/code_contests", "licence": "CC-BY-4.0"},
        {"format": "apps", "source": "BAAI/TACO", "licence": "Apache-2.0"},
    ),
    out="data/code.parquet",
    most={"code": 25000},
)
