"""`general`: prompts that reward models judge, for preference pairs, safety labels and R1's last 400 steps."""

from __future__ import annotations

from dataclasses import asdict

from data_recipes.builders.builder import Builder
from data_recipes.builders.formats.built import Built
from policies.json_types import JsonDict


def columns(built: Built) -> JsonDict:
    """Return the conversation."""
    return {"messages": [asdict(message) for message in built.messages]}


BUILDER = Builder(
    name="general",
    help="Prompts without a rule: helpfulness and safety.",
    kinds=("general", "safety"),
    columns=columns,
    sources=(
        {"format": "helpsteer", "source": "nvidia/HelpSteer2", "licence": "CC-BY-4.0"},
        {
            "format": "prompts",
            "source": "HuggingFaceH4/ultrafeedback_binarized",
            "split": "train_prefs",
            "licence": "MIT",
        },
        {"format": "chats", "source": "allenai/WildChat", "licence": "ODC-BY"},
        {
            "format": "safety",
            "source": "PKU-Alignment/BeaverTails",
            "split": "330k_train",
            "licence": "CC-BY-NC-4.0",
        },
    ),
    out="data/general.parquet",
    most={"general": 66000, "safety": 12000},
)
