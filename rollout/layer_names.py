"""Which layer a tensor belongs to, by its name in a checkpoint."""

from __future__ import annotations

import re

_LAYER = re.compile(r"^(.*?\.\d+)\.")


def layer_of(name: str) -> str:
    """Return a name's prefix up to its first number: its decoder layer, experts included; "" outside of layers."""
    found = _LAYER.match(name)
    return found.group(1) if found else ""
