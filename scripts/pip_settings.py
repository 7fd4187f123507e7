"""pip's settings as options and environment variables of uv: who has told pip where packages are need not tell uv.

Standard library only. A setting of uv's own (a variable UV_…, uv.toml) stands before pip's.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
from collections.abc import Mapping

SECTIONS = ("global", "install", ":env:")
"""Where pip looks for the settings of `pip install`; a later one wins."""
UV_NAME = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""Settings of pip that say where packages come from and how they are fetched."""
YES = ("1", "true", "yes", "on", "t", "y")
"""How pip's settings say yes."""
SEPARATOR = {"UV_FIND_LINKS": ","}
"""What stands between the values of a variable where it is not a space."""
ALWAYS = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "true"}
"""As pip does it: every index is asked for the locked version, and certificates are the system's. The name of the
strategy warns of an index with a package of the same name; here the hash of the lock decides."""


def for_uv(python: str) -> tuple[list[str], dict[str, str]]:
    """Return options and environment of `uv pip install`: `python`'s pip's settings where uv has none of its own."""
    options, variables = translate(read_settings(_listed(python)))
    return options, {**variables, **os.environ}


@functools.cache
def _listed(python: str) -> str:
    """Return what `pip config list` prints: once, though uv is called several times."""
    command = [python, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def read_settings(text: str) -> dict[str, str]:
    """Return pip's settings by name from the output of `pip config list`: lines section.name='value'."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in text.splitlines():
        match = re.fullmatch(r"(:env:|[\w-]+)\.([\w-]+)=(.*)", line)
        if match and match[1] in found:
            found[match[1]][match[2]] = str(ast.literal_eval(match[3]))
    return {name: value for section in SECTIONS for name, value in found[section].items()}


def translate(settings: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return uv's options and variables for pip's settings; several values of one stand in pip's order.

    `no-index` alone is an option: uv reads no variable for it.
    """
    variables = dict(ALWAYS)
    for name, variable in UV_NAME.items():
        if settings.get(name, "").strip():
            variables[variable] = SEPARATOR.get(variable, " ").join(settings[name].split())
    no_index = settings.get("no-index", "").strip().lower() in YES
    return ["--no-index"] if no_index else [], variables
