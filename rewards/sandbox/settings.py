"""How a recipe configures the sandbox. Pydantic alone."""

from __future__ import annotations

from typing import Literal

from policies.settings import Settings

TierName = Literal["namespaces", "landlock", "unisolated"]


class SandboxSettings(Settings):
    """Safe by default: full isolation or an error."""

    tier: Literal["auto", "namespaces", "landlock", "unisolated"] = "auto"
    """"auto" is "namespaces", or an error where the host refuses them. The weaker tiers hold only if named here."""
    zygote: bool = True
    """Keep a warm launcher between runs, and fork Python programs from it. False: a new launcher for every run."""
    cgroups: bool = True
    """Use cgroup limits where they are writable (started as root); else memory and tasks are watched by polling."""
