"""Which names mean this machine."""

from __future__ import annotations

import re

LOCAL = {"localhost", "127.0.0.1", "[::1]"}


def is_local(authority: str) -> bool:
    """Return True if `host` or `host:port` names this machine; any port, since one may be forwarded to ours."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\[\]]+)(?::\d{1,5})?", authority)
    return match is not None and match[1].lower() in LOCAL
