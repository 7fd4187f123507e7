"""Rows of TRL and verl as the rewards' own commands read them: prompt, completion and reference answer as text.

    plain({"prompt": [{"role": "user", "content": "7 * 4?"}], "reward_model": {"ground_truth": "28"}})
    {"prompt": "7 * 4?", "reward_model": {…}, "answer": "28"}

The stages read them by their shape (data_recipes/shapes.py), with a chat template; a reward needs no template.
"""

from __future__ import annotations

from collections.abc import Mapping

from policies.json_types import JsonDict, JsonMapping

ASKS = ("user", "human")
"""Who asks, as OpenAI's `role` and ShareGPT's `from` say it."""


def plain(record: JsonMapping) -> JsonDict:
    """Return the row with its last question, last reply and reference where they are asked for; others as they are."""
    row = dict(record)
    is_chat = _turns(row.get("prompt")) is not None
    for key, speakers in (("prompt", ASKS), ("completion", None)):
        turns = _turns(row.get(key))
        text = next(
            (text for who, text in reversed(turns or []) if speakers is None or who in speakers), None
        )
        if text is not None:
            row[key] = text
    if row.get("answer") is None:
        nested = row.get("reward_model")
        if isinstance(nested, Mapping) and nested.get("ground_truth") is not None:
            row["answer"] = nested["ground_truth"]
        elif is_chat and isinstance(row.get("solution"), str):
            row["answer"] = row["solution"]
    return row


def _turns(value: object) -> list[tuple[str, str]] | None:
    """Return (who, text) of a conversation's turns; None if the value is none."""
    if not isinstance(value, list) or not value or not all(isinstance(turn, Mapping) for turn in value):
        return None
    found = [(turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))) for turn in value]
    if not all(isinstance(who, str) for who, _ in found):
        return None
    return [(str(who), text) for who, text in found if isinstance(text, str)]
