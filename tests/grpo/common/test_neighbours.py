"""Runs that share cores see each other; dead ones, and those with other cores, are no neighbours."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpo.common import neighbours
from grpo.common.neighbours import announced, others, warning

HOLD = """
import sys, time, pathlib
from grpo.common import neighbours
neighbours.SHARED_MEMORY = pathlib.Path(sys.argv[1])
with neighbours.announced(pathlib.Path("/runs/other")):
    print("here", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(neighbours, "SHARED_MEMORY", tmp_path)
    return tmp_path


@pytest.fixture
def other(place: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_alone_has_no_neighbours_and_leaves_nothing(place: Path) -> None:
    with announced(Path("runs/a")) as found:
        assert found == []
        assert len(list(place.iterdir())) == 1
    assert not list(place.iterdir())


def test_another_run_is_named_with_the_keys_to_set(other: subprocess.Popen[str]) -> None:
    with announced(Path("runs/a")) as found:
        assert [one.run for one in found] == ["/runs/other"]
        text = warning(found, "learner.threads and engine.threads")
    assert "another run computes on the same" in text
    assert "/runs/other" in text
    assert "set learner.threads and engine.threads in both" in text
    assert warning([], "threads") == ""


def test_a_killed_run_is_no_neighbour_and_its_announcement_goes(
    place: Path, other: subprocess.Popen[str]
) -> None:
    other.kill()
    other.wait()
    assert len(list(place.iterdir())) == 1
    assert list(others()) == []
    assert not list(place.iterdir())


def test_runs_on_other_cores_are_no_neighbours(
    other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4096})
    with announced(Path("runs/a")) as found:
        assert found == []


def test_a_place_that_cannot_be_written_stops_no_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_place", lambda: place / "absent")
    with announced(Path("runs/a")) as found:
        assert found == []


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b'{"run": 1}'])
def test_a_damaged_announcement_stops_no_run(place: Path, content: bytes) -> None:
    import fcntl

    with (place / f"{neighbours.PREFIX}x").open("wb") as file:
        file.write(content)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with announced(Path("runs/a")) as found:
            assert found == []
