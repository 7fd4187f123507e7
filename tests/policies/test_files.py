"""The atomic write: the old file or the new one, whatever happens in between."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from policies import files
from policies.files import replace_folder, replacing, sync_tree, write_atomic


@pytest.fixture
def _plain_umask() -> Iterator[None]:
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed, in order, as "fsync NAME" and "rename NAME"."""
    events: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        real_sync(descriptor)

    def replace(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        events.append(f"rename {Path(target).name}")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return events


def test_text_is_written_as_utf_8_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "é\n思考\n")
    assert path.read_bytes() == "é\n思考\n".encode()
    write_atomic(path, "")
    assert path.read_bytes() == b""
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_content_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, synced: list[str]
) -> None:
    write_atomic(tmp_path / "a.json", "new")
    first, second, third = synced
    assert first.startswith("fsync .a.json.")
    assert (second, third) == ("rename a.json", f"fsync {tmp_path.name}")


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "a longer new text")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_disk_that_fails_at_the_sync_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delayed allocation reports a full disk at fsync, not at write."""
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("length", [3, 1_000_000])
def test_a_process_that_dies_before_the_rename_leaves_the_old_file(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    code = (
        "import os\nfrom pathlib import Path\nfrom policies.files import write_atomic\n"
        "os.replace = lambda *_: os._exit(9)\n"
        f"write_atomic(Path({str(path)!r}), 'n' * {length})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert path.read_text() == "old"
    write_atomic(path, "newer")
    assert path.read_text() == "newer"


def test_an_exception_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"old")

    with suppress(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["rows.parquet"]


@pytest.mark.usefixtures("_plain_umask")
def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with replacing(path) as temporary:
        # As safetensors does: a file of its own, for the owner alone.
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(mode)
    write_atomic(path, "new")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new", mode)


def test_a_missing_folder_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "a.json", "new")
    assert os.listdir(tmp_path) == []


def test_concurrent_writers_never_leave_a_mixture(tmp_path: Path) -> None:
    """Threads of one process have one process id, so that alone does not keep their temporary files apart."""
    path = tmp_path / "a.json"
    texts = [str(number) * 100_000 for number in range(8)]
    seen: set[str] = set()
    errors: list[BaseException] = []

    def write(text: str) -> None:
        try:
            for _ in range(10):
                write_atomic(path, text)
                seen.add(path.read_text())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert seen <= set(texts)
    assert os.listdir(tmp_path) == ["a.json"]


def folder(path: Path, text: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(text)
    return path


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for text in ("first", "second"):
        building = folder(tmp_path / "building", text)
        sync_tree(building)
        replace_folder(building, tmp_path / "policy")
        assert (tmp_path / "policy" / "inner" / "file").read_text() == text
        assert os.listdir(tmp_path) == ["policy"]


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder(tmp_path / "policy", "old")
    building = folder(tmp_path / "building", "new")
    real = Path.rename

    def rename(self: Path, to: Path) -> Path:
        if self == building:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output error"):
        replace_folder(building, target)
    assert (target / "inner" / "file").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["building", "policy"]


def test_a_tree_is_synced_from_its_leaves_to_its_root(tmp_path: Path, synced: list[str]) -> None:
    sync_tree(folder(tmp_path / "policy", "text"))
    assert synced == ["fsync file", "fsync inner", "fsync policy"]


def test_replacing_a_folder_syncs_its_parent(tmp_path: Path, synced: list[str]) -> None:
    replace_folder(folder(tmp_path / "building", "new"), tmp_path / "policy")
    assert synced == [f"fsync {tmp_path.name}"]


def test_the_module_needs_the_standard_library_alone() -> None:
    code = "import sys\nimport policies.files, policies.digests\nprint({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()", files.__doc__
