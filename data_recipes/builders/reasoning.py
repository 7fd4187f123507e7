"""`r1-reasoning`: prompts of maths, code, STEM and logic for R1-Zero, Dev2, rejection sampling and R1 (table 4)."""

from __future__ import annotations

from data_recipes.builders.builder import Builder
from data_recipes.builders.formats.built import Built, LeftOut
from policies.json_types import JsonDict

FEWEST_OPTIONS, MOST_OPTIONS = 4, 8
"""R1's STEM questions have four to eight options."""


def columns(built: Built) -> JsonDict:
    """Return what rewards read: answer, options, tests."""
    return {
        "question": built.question,
        "answer": built.answer,
        "choices": list(built.choices) or None,
        "tests": built.tests,
        "entry_point": built.entry_point,
        "setup": built.setup,
        "programming_language": built.programming_language,
    }


def check(built: Built) -> None:
    """Leave out questions of multiple choice with too few or too many options."""
    if built.kind == "stem" and not FEWEST_OPTIONS <= len(built.choices) <= MOST_OPTIONS:
        raise LeftOut("options")


MATHS = (
    {"format": "numina", "source": "AI-MO/NuminaMath-1.5", "licence": "Apache-2.0"},
    {"format": "gsm8k", "source": "openai/gsm8k", "subset": "main", "licence": "MIT", "limit": 2000},
    {"format": "aime", "source": "gneubig/aime-1983-2024", "licence": "CC0-1.0"},
)
LOGIC = (
    {"format": "cluewsc", "source": "clue/clue", "subset": "cluewsc2020", "licence": "unknown"},
    {
        "format": "questions",
        "source": "reasoning-gym:zebra_puzzles",
        "licence": "Apache-2.0",
        "kind": "logic",
        "params": {"count": 15000},
    },
)

BUILDER = Builder(
    name="r1-reasoning",
    help="Prompts for RL: maths, code, STEM, logic.",
    kinds=("math", "code", "stem", "logic"),
    columns=columns,
    sources=(
        *MATHS,
        {"format": "built", "source": "data/code.parquet", "licence": "as in the file"},
        {"format": "medmcqa", "source": "openlifescienceai/medmcqa", "licence": "Apache-2.0"},
        {"format": "sciq", "source": "allenai/sciq", "licence": "CC-BY-NC-3.0"},
        {"format": "arc", "source": "allenai/ai2_arc", "subset": "ARC-Challenge", "licence": "CC-BY-SA-4.0"},
        *LOGIC,
    ),
    out="data/reasoning.parquet",
    most={"math": 26000, "code": 17000, "stem": 22000, "logic": 15000},
    is_ruled=True,
    check=check,
    before_year=2023,
)
