"""Hypothesis without deadlines, since tests hold no timings; and which tests share a worker of `pytest -n 2`."""

from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.hookimpl(wrapper=True)  # before xdist, which reads the groups in a hook of its own that comes first
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Put all tests that start engines or Ray into one group, first, and each other file into one of its own.

    With `-n 2 --dist loadgroup` one worker then runs the engines, one at a time, as many as fit two cores and their
    memory, while the other runs the rest. Without -n the groups mean nothing.
    """
    for item in items:
        heavy = item.get_closest_marker("engine") or item.get_closest_marker("ray")
        item.add_marker(pytest.mark.xdist_group("engines" if heavy else str(item.path)))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] != "engines")  # type: ignore[union-attr]
    yield
