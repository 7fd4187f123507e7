"""One warm sandbox per tier that this host gives, shared by all tests."""

from __future__ import annotations

import pytest

from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.languages import MissingToolchain, find_toolchain
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings

TIERS = {
    "namespaces": SandboxSettings(),
    "namespaces, no cgroup": SandboxSettings(cgroups=False),
    "landlock": SandboxSettings(tier="landlock"),
    "unisolated": SandboxSettings(tier="unisolated"),
}


class Opened:
    """Sandboxes by name, opened when first asked for."""

    def __init__(self):
        self._found = {}

    def get(self, name):
        if name not in self._found:
            try:
                self._found[name] = Sandbox.open(TIERS[name])
            except SandboxUnavailable as error:
                self._found[name] = error
        if isinstance(self._found[name], SandboxUnavailable):
            pytest.skip(f"this host has no such tier: {self._found[name]}")
        return self._found[name]

    def close(self):
        for sandbox in self._found.values():
            if isinstance(sandbox, Sandbox):
                sandbox.close()


@pytest.fixture(scope="session")
def opened():
    opened = Opened()
    yield opened
    opened.close()


@pytest.fixture
def sandbox(opened):
    """As it is by default: in namespaces."""
    return opened.get("namespaces")


@pytest.fixture(params=TIERS)
def any_tier(opened, request):
    return opened.get(request.param)


@pytest.fixture(params=["namespaces", "landlock"])
def isolated_tier(opened, request):
    return opened.get(request.param)


@pytest.fixture
def need():
    """need("rust") skips where the host has no toolchain for it."""

    def check(language):
        if language == "python":
            return
        try:
            find_toolchain(language)
        except MissingToolchain as error:
            pytest.skip(str(error))

    return check
