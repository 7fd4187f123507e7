"""How often properties are tried, without deadlines, and how `pytest -n 2` divides cores and files."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("everyday", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=200)
settings.load_profile("everyday")

# Each process its share of the cores, before anything imports torch: a parallel loop of more threads than cores waits
# for those that the other process holds up, and the loops of tiny policies are short.
_processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // _processes)))

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Try a property more often where slow tests run too."""
    if "not slow" not in config.option.markexpr:
        settings.load_profile("thorough")


class FileByFile(LoadScopeScheduling):
    """Gives each process the next file, so that the runs that a file's tests share are made once."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]


def starts_engines(file: str) -> bool:
    """Return True if a test of the file has the marker `engine` or `ray`."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return "pytest.mark.engine" in text or "pytest.mark.ray" in text


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, those that start engines: the others fill the end evenly."""
    first = {file: starts_engines(file) for file in {item.nodeid.partition("::")[0] for item in items}}
    items.sort(key=lambda item: not first[item.nodeid.partition("::")[0]])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FileByFile:
    """Choose the schedule of `pytest -n`."""
    return FileByFile(config, log)
