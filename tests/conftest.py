"""Hypothesis without deadlines, since tests hold no timings; and which files share a process of `pytest -n 2`."""

from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

ROOT = Path(__file__).resolve().parent.parent


class EnginesInOneProcess(LoadScopeScheduling):
    """Gives all files that start engines or Ray to one process, one test at a time, and each other file to the next.

    Two cores and their memory hold one engine and its learner.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "engines" if starts_engines(file) else file


def starts_engines(file: str) -> bool:
    """Return True if a test of the file has the marker `engine` or `ray`."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return "pytest.mark.engine" in text or "pytest.mark.ray" in text


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> EnginesInOneProcess:
    """Choose the schedule of `pytest -n`."""
    return EnginesInOneProcess(config, log)
