"""The one rule for paths in recipes: `~` is the home folder, `$NAME` and `${NAME}` are environment variables.

expand("~/runs/$USER")           "/home/ada/runs/ada"
expand_in({"judge": "~/judge"})  the same for each text of a list or table that begins like a path
"""

from __future__ import annotations

import os
import re

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_BEGINS_LIKE_A_PATH = re.compile(r"~[^/]*/|" + _VARIABLE.pattern + "/")


def expand(path: str) -> str:
    """Return the path with home folder and environment variables in it; other texts as they are.

    Raises:
        ValueError: a variable is not set, or there is no such user; names it.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name not in os.environ:
            raise ValueError(f"the environment variable {name} is not set")
        return os.environ[name]

    filled = _VARIABLE.sub(value, path)
    if not filled.startswith("~"):
        return filled
    home = os.path.expanduser(filled)
    if home.startswith("~"):
        raise ValueError(
            f"{filled.partition('/')[0]} has no home folder; a folder of that name is ./{filled}"
        )
    return home


def expand_in(value: object) -> object:
    """Return a list or table in which every text that begins with `~/`, `$NAME/` or `${NAME}/` is expanded.

    Raises:
        ValueError: see `expand`.
    """
    if isinstance(value, str):
        return expand(value) if _BEGINS_LIKE_A_PATH.match(value) else value
    if isinstance(value, list | tuple):
        return [expand_in(item) for item in value]
    if isinstance(value, dict):
        return {key: expand_in(item) for key, item in value.items()}
    return value
