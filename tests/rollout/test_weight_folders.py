"""Weights find room or one clear error; what a dead run left goes, what a living one holds stays."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout import weight_folders
from rollout.errors import NoRoomForWeights
from rollout.weight_folders import LOCK, PREFIX, WeightFolders, dead_folders, publication_roots, remove_dead

SIZE = 4060
HOLD = """
import sys, time, pathlib
from rollout.weight_folders import WeightFolders
folders = WeightFolders([pathlib.Path(sys.argv[1])])
print(folders.reserve(12)[0], flush=True)
time.sleep(600)
"""


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("shm", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path / "shm", tmp_path / "tmp"


@pytest.fixture
def holder(roots: tuple[Path, Path]) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has published and goes on living, and its folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(roots[0])], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    assert path.is_file()
    yield process, path.parent
    process.kill()
    process.communicate()


def limit(monkeypatch: pytest.MonkeyPatch, free: dict[Path, int]) -> None:
    """Give these roots a size; what lies in them counts."""

    def left(folder: Path) -> int:
        root = next(root for root in free if folder == root or root in folder.parents)
        used = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
        return max(0, free[root] - used)

    monkeypatch.setattr(weight_folders, "free_bytes", left)


def test_the_first_root_takes_what_fits_and_says_nothing(roots: tuple[Path, Path]) -> None:
    folders = WeightFolders(roots)
    path, note = folders.reserve(SIZE)
    assert path.is_relative_to(roots[0])
    assert path.stat().st_size == SIZE
    assert note == ""
    assert not list(roots[1].iterdir())
    folders.close()
    assert not list(roots[0].iterdir())


def test_what_does_not_fit_goes_to_the_next_root_with_a_note(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, {roots[0]: 3000, roots[1]: 10**6})
    folders = WeightFolders(roots)
    for _ in range(2):
        path, note = folders.reserve(SIZE)
        assert path.is_relative_to(roots[1])
        assert f"a window's 0.0 MB do not fit into {roots[0]}" in note
        assert f"weights go through {roots[1]}" in note
    folders.close()
    assert not [*roots[0].iterdir(), *roots[1].iterdir()]


def test_room_for_one_file_is_enough(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The old file goes first."""
    limit(monkeypatch, {roots[0]: 6000, roots[1]: 10**6})
    folders = WeightFolders(roots)
    for _ in range(3):
        assert folders.reserve(SIZE)[0].is_relative_to(roots[0])
        assert len(list(roots[0].rglob("windows"))) == 1
    folders.close()


def test_a_file_leaves_none_behind_in_another_root(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {roots[0]: 10**6, roots[1]: 10**6}
    limit(monkeypatch, free)
    folders = WeightFolders(roots)
    folders.reserve(SIZE)
    free[roots[0]] = 0
    assert folders.reserve(SIZE)[0].is_relative_to(roots[1])
    assert not list(roots[0].rglob("windows"))
    folders.close()


def test_no_room_anywhere_is_one_error_with_sizes_places_and_fix(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, {roots[0]: 3_000_000, roots[1]: 2_000_000})
    folders = WeightFolders(roots)
    with pytest.raises(NoRoomForWeights) as error:
        folders.reserve(4_000_000)
    text = str(error.value)
    assert text.startswith("windows of weights fit nowhere: a window's 4.0 MB do not fit into ")
    assert "has 3.0 MB free" in text
    assert "has 2.0 MB free" in text
    assert "docker run --shm-size" in text
    assert "TMPDIR" in text
    assert not list(roots[0].rglob("windows"))
    folders.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_space_that_others_take_in_between_is_no_bare_error(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoomForWeights, match=os.strerror(code)):
        WeightFolders(roots).reserve(SIZE)
    assert not [path for root in roots for path in root.rglob("*") if path.is_file() and path.name != LOCK]


def test_a_root_that_cannot_be_written_is_passed_over(roots: tuple[Path, Path]) -> None:
    shutil.rmtree(roots[0])
    path, note = WeightFolders(roots).reserve(SIZE)
    assert path.is_relative_to(roots[1])
    assert "cannot be used" in note


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_run_removes_what_a_dead_one_left(
    roots: tuple[Path, Path], holder: tuple[subprocess.Popen[str], Path], how: signal.Signals
) -> None:
    process, left = holder
    folders = WeightFolders(roots)
    folders.reserve(SIZE)
    assert left.is_dir(), "a living run lost its weights"
    assert list(dead_folders(roots[0])) == []
    process.send_signal(how)
    process.wait()
    assert list(dead_folders(roots[0])) == [left]
    later = WeightFolders(roots)
    later.reserve(SIZE)
    assert not left.exists()
    assert len(list(roots[0].iterdir())) == 2, "the two living runs keep theirs"
    later.close()
    folders.close()
    assert not list(roots[0].iterdir())


def test_two_runs_of_one_process_do_not_remove_each_other(roots: tuple[Path, Path]) -> None:
    first, second = WeightFolders(roots), WeightFolders(roots)
    paths = [folders.reserve(SIZE)[0] for folders in (first, second)]
    assert all(path.is_file() for path in paths)


def test_what_is_not_ours_to_judge_stays(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock file, a link, another user's."""
    (roots[0] / f"{PREFIX}nolock").mkdir()
    (roots[0] / f"{PREFIX}file").touch()
    target = roots[1] / "precious"
    target.mkdir()
    (target / LOCK).touch()
    (roots[0] / f"{PREFIX}link").symlink_to(target)
    assert remove_dead(roots[0]) == []
    other = roots[0] / f"{PREFIX}other"
    other.mkdir()
    (other / LOCK).touch()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert remove_dead(roots[0]) == []
    monkeypatch.undo()
    assert remove_dead(roots[0]) == [other]
    assert (target / LOCK).exists()


def test_roots_are_shared_memory_then_temporary_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(weight_folders, "SHARED_MEMORY", tmp_path / "absent")
    assert publication_roots() == (tmp_path,)
    monkeypatch.setattr(weight_folders, "SHARED_MEMORY", tmp_path)
    assert publication_roots() == (tmp_path,)


def can_mount() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    ).returncode  # fmt: skip


@pytest.mark.skipif(not can_mount(), reason="no user namespaces")
def test_a_real_file_system_that_is_too_small(tmp_path: Path) -> None:
    """1.2 MB of shared memory and a file of 0.8 MB: the second goes where the first was, a larger one to the disk."""
    script = """
import pathlib, sys
from rollout.weight_folders import WeightFolders
small, disk = map(pathlib.Path, sys.argv[1:])
folders = WeightFolders([small, disk])
for size in (800_000, 800_000, 1_600_000):
    path, note = folders.reserve(size)
    print(path.parent.parent.name, note)
folders.close()
print(list(small.iterdir()))
"""
    (tmp_path / "shm").mkdir()
    mount = f"mount -t tmpfs -o size=1200k none {tmp_path}/shm"
    command = f"{mount} && exec {sys.executable} -c '{script}' {tmp_path}/shm {tmp_path}"
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True, cwd=Path.cwd()
    )
    assert done.returncode == 0, done.stderr
    first, second, third, left = done.stdout.splitlines()
    assert (first.strip(), second.strip()) == ("shm", "shm")
    assert third.startswith(f"{tmp_path.name} a window's 1.6 MB do not fit into {tmp_path}/shm/")
    assert left == "[]"
