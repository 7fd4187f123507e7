"""What a host with GPUs needs beside them, judged from facts that a test makes up."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from grpo.common.nvidia import Gpu
from grpo.tools import doctor, gpu_host

H100 = Gpu("NVIDIA H100", "81559 MiB", "580.65.06", (9, 0))
L4 = Gpu("NVIDIA L4", "23034 MiB", "580.65.06", (8, 9))


@pytest.mark.parametrize(
    ("gpus", "versions", "status", "text"),
    [
        ([H100], {"nvidia-nccl-cu13": "2.28.9"}, "ok", "2.28.9"),
        ([H100, H100], {}, "fail", "cannot talk"),
        ([H100], {}, "note", "cannot talk"),
        ([H100], {"nvidia-nccl-cu12": "2.27.5"}, "fail", "CUDA 13.0 is locked"),
        ([H100], {"nvidia-nccl-cu12": "2.27.5", "nvidia-nccl-cu13": "2.28.9"}, "note", "2.27.5"),
    ],
)
def test_nccl(gpus: list[Gpu], versions: dict[str, str | None], status: str, text: str) -> None:
    found = gpu_host.nccl(gpus, versions, "13.0")
    assert (found.status, text in found.found) == (status, True)
    assert bool(found.fix) == (status != "ok")


def test_mixed_types_are_named() -> None:
    assert gpu_host.kinds([H100, H100]) is None
    found = gpu_host.kinds([H100, L4])
    assert found is not None
    assert "H100" in found.found
    assert "L4" in found.found
    assert "CUDA_VISIBLE_DEVICES" in found.fix


def test_small_shared_memory_says_the_size_to_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpu_host.shared_memory([H100], tmp_path) is None

    def of_size(size: int) -> gpu_host.Finding | None:
        monkeypatch.setattr(gpu_host.shutil, "disk_usage", lambda _: _Usage(size))
        return gpu_host.shared_memory([H100] * 8, tmp_path)

    small, short, enough = of_size(64 * 2**20), of_size(2 * 10**9), of_size(4 * 10**9)
    assert small is not None
    assert (small.status, "--shm-size=3g" in small.fix) == ("fail", True)
    assert short is not None
    assert short.status == "note"
    assert enough is not None
    assert (enough.status, enough.fix) == ("ok", "")
    none = gpu_host.shared_memory([H100] * 2, tmp_path / "missing")
    assert none is not None
    assert none.status == "fail"


class _Usage:
    def __init__(self, total: int) -> None:
        self.total = total


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/local\\040disk tmpfs rw 0 0
fs /scratch lustre rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind", "status"),
    [
        ("/srv/runs", "ext4", "note"),
        ("/home/me/runs", "nfs4", "ok"),
        ("/home/me/local disk/runs", "tmpfs", "note"),
        ("/scratch/a/b", "lustre", "ok"),
        ("/scratchy", "ext4", "note"),
    ],
)
def test_the_deepest_mount_decides(folder: str, kind: str, status: str) -> None:
    found = gpu_host.file_system(Path(folder), MOUNTS)
    assert found.found.startswith(kind)
    assert found.status == status


def test_doctor_on_a_host_with_gpus_names_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    rows = ["NVIDIA H100, 81559 MiB, 580.65.06, 9.0"] * 2
    tool.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"print('GPU 0: x') if sys.argv[1] == '-L' else print({chr(10).join(rows)!r})\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "cuda.txt").write_text("cuda-toolkit==13.0.3.0 --hash=sha256:aa\n")
    names = [check.name for check in doctor.gpu(tmp_path)]
    assert names == ["GPU", "CUDA", "NCCL", "shared memory", "shared file system"]
    tool.write_text("#!/bin/sh\necho No devices were found\n")
    (alone,) = doctor.gpu(tmp_path)
    assert (alone.status, "lists no GPU" in alone.found) == ("note", True)
