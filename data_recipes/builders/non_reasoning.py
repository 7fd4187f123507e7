"""`non-reasoning`: requests with a reply, for the 200,000 rows that R1's second SFT adds to the reasoning (§2.3.3).

Replies stay as they are. The paper has V3 write a chain of thought before some of them.
"""

from __future__ import annotations

from dataclasses import asdict

from data_recipes.builders.builder import Builder
from data_recipes.builders.formats.built import Built
from policies.json_types import JsonDict


def columns(built: Built) -> JsonDict:
    """Return the conversation up to the reply, its last question, and the reply."""
    return {
        "messages": [asdict(message) for message in built.messages],
        "question": built.question,
        "completion": built.completion,
    }


BUILDER = Builder(
    name="non-reasoning",
    help="Requests with a reply for SFT: writing, questions of fact, translation.",
    kinds=("general",),
    columns=columns,
    sources=(
        {"format": "messages", "source": "HuggingFaceH4/no_robots", "licence": "CC-BY-NC-4.0"},
        {"format": "messages", "source": "allenai/tulu-3-sft-mixture", "licence": "ODC-BY", "limit": 150000},
        {"format": "dolly", "source": "databricks/databricks-dolly-15k", "licence": "CC-BY-SA-3.0"},
        {
            "format": "translations",
            "source": "Helsinki-NLP/opus-100",
            "subset": "en-zh",
            "licence": "as its sources",
            "limit": 20000,
        },
    ),
    out="data/non_reasoning.parquet",
    most={"general": 200000},
    has_reply=True,
)
