"""The sandbox settings of a recipe. Needs only Pydantic.

params = { sandbox = { tier = "landlock" } }                                  # on this host
params = { sandbox = { urls = ["http://sandbox-1:8080", "http://sandbox-2:8080"] } }    # on a pool of hosts
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from policies.settings import Identity, Operational, Settings

TierName = Literal["namespaces", "landlock", "unisolated"]


class SandboxSettings(Settings):
    """The settings of a sandbox. The default is safe: full isolation on this host, or an error."""

    tier: Identity[Literal["auto", "namespaces", "landlock", "unisolated"]] = "auto"
    """"auto" is "namespaces", or an error where the host refuses them. The weaker tiers are used only if named here."""
    zygote: Operational[bool] = True
    """Keep a running launcher between runs, and fork Python programs from it. False: a new launcher for every run."""
    cgroups: Operational[bool] = True
    """Use cgroup limits where they are writable (started as root); else poll memory and tasks."""
    urls: Operational[tuple[str, ...]] = Field(default=(), max_length=4096)
    """Hosts with SandboxFusion's `run_code` API, to which programs are sent. If empty, programs run on this host."""

    packages: Identity[tuple[str, ...]] = ()
    """Packages that Python programs may import besides the standard library, e.g. ["numpy"]: of this environment, with
    what they require; of the hosts if urls names any."""

    @field_validator("packages")
    @classmethod
    def _are_names(cls, packages: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [name for name in packages if not name.isidentifier()]:
            raise ValueError(f"{wrong[0]!r}: expected the name that a program imports, such as numpy")
        return packages

    @field_validator("urls")
    @classmethod
    def _are_http(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_url(url) for url in urls)

    @model_validator(mode="after")
    def _is_one_kind(self) -> SandboxSettings:
        local = self.model_fields_set & {"tier", "zygote", "cgroups"}
        if self.urls and local:
            raise ValueError(
                f"{', '.join(sorted(local))}: of no effect on the hosts that urls names; leave out"
            )
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("urls names a host twice")
        return self


def _checked_url(url: str) -> str:
    """Return the address without a trailing slash. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r}: expected http://host:port or https://host:port")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError(f"{url!r}: expected no user, query or fragment in the address of a sandbox host")
    _ = parts.port  # raises if it is not a number
    return url.rstrip("/")
