"""The family file that docs/policies.md shows, added as its reader would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from policies.families import registry
from policies.families.family import Family

PAGE = Path(__file__).resolve().parents[2] / "docs" / "policies.md"


def documented_family() -> Family:
    """Run the added lines of the diff; returns its FAMILY."""
    (diff,) = re.findall(
        r"```diff\n\+\+\+ b/policies/families/\w+\.py\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    header, *lines = diff.splitlines()
    assert header == f"@@ -0,0 +1,{len(lines)} @@"
    assert all(line.startswith("+") for line in lines)
    space: dict[str, object] = {}
    exec(compile("\n".join(line[1:] for line in lines), "mistral.py", "exec"), space)
    family = space["FAMILY"]
    assert isinstance(family, Family)
    return family


@contextmanager
def added(family: Family) -> Iterator[Family]:
    """Make the registry hold the family, as if its file stood in the folder."""
    shapes = {name: (family.name, fields) for name, fields in family.presets.items()}
    with (
        mock.patch.dict(registry.FAMILIES, {family.name: family}),
        mock.patch.dict(registry.BY_ARCHITECTURE, {family.architecture: family}),
        mock.patch.dict(registry.PRESETS, shapes),
    ):
        yield family
