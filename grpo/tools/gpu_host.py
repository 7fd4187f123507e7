"""What a host with GPUs needs besides the GPUs: NCCL, shared memory, a file system that other nodes see. No torch.

Every function gets what it judges, so that tests need no GPU; `grpo/tools/doctor.py` collects and prints.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grpo.common.nvidia import Gpu

GB = 10**9
SHARED_SYSTEMS = (
    "nfs", "lustre", "ceph", "gpfs", "beegfs", "glusterfs", "cifs", "smb", "afs", "9p", "virtiofs", "fuse.juicefs",
    "fuse.gcsfuse", "fuse.s3fs", "fuse.sshfs", "fuse.weka", "wekafs", "pvfs", "orangefs",
)  # fmt: skip
"""Beginnings of the names of file systems that several machines mount."""
NCCL_PACKAGES = ("nvidia-nccl-cu13", "nvidia-nccl-cu12")
SHM = Path("/dev/shm")
SHM_OF_A_RANK = GB // 4
"""NCCL's buffers between the GPUs of one node, at most (estimated: 64 MB by default in a container is too little)."""
SHM_BASE = GB


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; `fix` is empty if and only if the status is ok."""

    name: str
    status: Literal["ok", "note", "fail"]
    found: str
    fix: str = ""


def nccl(gpus: Sequence[Gpu], versions: Mapping[str, str | None], cuda: str | None) -> Finding:
    """Judge the NCCL that the ranks talk through.

    Args:
        gpus: of this machine.
        versions: of NCCL_PACKAGES; None for one that is not installed.
        cuda: the locked version, "13.0".
    """
    installed = {name: version for name, version in versions.items() if version}
    wanted = f"nvidia-nccl-cu{cuda.partition('.')[0]}" if cuda else None
    fix = "make install DEVICE=cuda"
    if not installed:
        status: Literal["note", "fail"] = "fail" if len(gpus) > 1 else "note"
        return Finding("NCCL", status, "not installed: ranks on several GPUs cannot talk", fix)
    found = ", ".join(f"{version} ({name})" for name, version in installed.items())
    if wanted and wanted not in installed:
        return Finding("NCCL", "fail", f"{found}, but CUDA {cuda} is locked", fix)
    if len(installed) > 1:
        return Finding("NCCL", "note", found, f"two builds: pip uninstall those other than {wanted}")
    return Finding("NCCL", "ok", found)


def kinds(gpus: Sequence[Gpu]) -> Finding | None:
    """Report GPUs of different types; None where all are alike."""
    names = sorted({f"{gpu.name}, {gpu.memory}" for gpu in gpus})
    if len(names) < 2:
        return None
    fix = "ranks wait for the slowest and are planned for the smallest; choose one type with CUDA_VISIBLE_DEVICES"
    return Finding("GPU types", "note", "; ".join(names), fix)


def no_device() -> Finding:
    """Report a driver that lists no GPU."""
    fix = "in a container: docker run --gpus all; else nvidia-smi -L and dmesg say what the driver misses"
    return Finding("GPU", "note", "nvidia-smi is here and lists no GPU", fix)


def shared_memory(gpus: Sequence[Gpu], root: Path = SHM) -> Finding | None:
    """Judge the size of /dev/shm for NCCL and publications; None for one GPU, which needs little."""
    if len(gpus) < 2:
        return None
    needed = SHM_BASE + SHM_OF_A_RANK * len(gpus)
    size = shutil.disk_usage(root).total if root.exists() else 0
    found = f"{size / GB:,.1f} GB at {root} for {len(gpus)} GPUs"
    if size >= needed:
        return Finding("shared memory", "ok", found)
    gib = -(-needed // GB)
    fix = f"docker run --shm-size={gib}g, or mount -o remount,size={gib}g {root}: NCCL fails with bus errors without"
    return Finding("shared memory", "fail" if size < SHM_OF_A_RANK else "note", found, fix)


def file_system(folder: Path, mounts: str) -> Finding:
    """Report whether the folder that runs go to lies on a file system that other nodes see.

    Args:
        folder: absolute.
        mounts: content of /proc/mounts.
    """
    point, kind = mount_of(folder, mounts)
    found = f"{kind} at {point} holds {folder}"
    if kind.startswith(SHARED_SYSTEMS):
        return Finding("shared file system", "ok", found)
    fix = (
        "right for one machine; for several, set run_dir to a folder that all mount (NFS, Lustre, CephFS, …)"
    )
    return Finding("shared file system", "note", found, fix)


def mount_of(folder: Path, mounts: str) -> tuple[str, str]:
    """Return (mount point, file system) of a folder: the deepest mount above it, the last one if there are several."""
    best, kind = "", "an unknown file system"
    for line in mounts.splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, parts[2]
    return best or "/", kind
