"""Reads a run's config.json as a recipe: its tree, and the line of a key for messages."""

from __future__ import annotations

import json
from collections.abc import Sequence

from grpo.common.errors import ConfigError
from policies.json_types import JsonDict

INDENT = 2
"""Spaces per level, as `grpo.common.config_io.dump` writes."""


def read_json(name: str, text: str) -> JsonDict:
    """Parse a config as `dump` writes it; `name` is for the message.

    Raises:
        ConfigError: the text is not a JSON object.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}: not valid JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{name}: holds {type(tree).__name__}, not the object that a run's config.json is")
    return tree


def line_in_json(text: str, path: Sequence[object]) -> int | None:
    """Find the line of a key in a JSON text with two spaces of indent; None where it is written otherwise."""
    lines, at = text.splitlines(), 0
    for depth, part in enumerate(path, 1):
        indent = " " * (INDENT * depth)
        rest = [
            n
            for n in range(at, len(lines))
            if lines[n].startswith(indent) and lines[n][len(indent)] not in " ]}"
        ]
        if isinstance(part, int):
            found = rest[part : part + 1]
        else:
            found = [n for n in rest if lines[n].startswith(f"{indent}{json.dumps(part)}:")][:1]
        if not found:
            return None
        at = found[0] + 1
    return at
