"""Find the compilers and interpreters of the sandbox's languages on this host, and the commands to call them.

    toolchain = find_toolchain("java")     # None: no such language; MissingToolchain: known, but not on this host

System paths come first: /usr is in every sandbox. A toolchain elsewhere is bound read-only at its own path, resolved
past shims (rustup's), which need a home directory that no sandbox has. Compilers run in the work directory, which is
the sandbox's /tmp.
"""

from __future__ import annotations

import functools
import glob
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rewards.errors import RewardError

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/go/bin"
"""The folders to search for a toolchain before PATH."""


class MissingToolchain(RewardError):
    """The language is known, but this host has no compiler or interpreter for it; the message names what to install."""


@dataclass(frozen=True)
class Toolchain:
    """The commands and files that run one language inside a sandbox."""

    name: str
    source_name: str
    """The name of the program's file in the work directory."""
    compile: tuple[str, ...] | None
    """The command that compiles into the work directory; None if there is nothing to compile."""
    run: tuple[str, ...]
    """The command that runs the program; empty for Python, which the launcher runs itself."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables to add to PATH, HOME and LANG for both commands."""
    binds: tuple[str, ...] = ()
    """Host paths that the language needs besides /usr, bound read-only at the same path inside."""


def find_toolchain(name: str) -> Toolchain | None:
    """Return the toolchain of a language; None if the sandbox has no language of that name.

    Raises:
        MissingToolchain: the language is known, but this host cannot run it.
    """
    finder = _FINDERS.get(name)
    return None if finder is None else finder()


def _need(language: str, *names: str) -> str:
    """Return the absolute path of the first of these commands that the host has. Raises MissingToolchain."""
    for path in (SYSTEM_PATH, os.environ.get("PATH", os.defpath)):
        for name in names:
            if found := shutil.which(name, path=path):
                return found
    raise MissingToolchain(f"no {' or '.join(names)} on this host; install one to run {language} programs")


def _outside_usr(*paths: str) -> tuple[str, ...]:
    return tuple(p for p in paths if not p.startswith("/usr/") and os.path.exists(p))


def _python() -> Toolchain:
    return Toolchain("python", "main.py", None, ())


def _bash() -> Toolchain:
    return Toolchain("bash", "main.sh", None, (_need("bash", "bash"), "main.sh"))


def _c() -> Toolchain:
    compiler = _need("C", "gcc", "clang", "cc")
    return Toolchain(
        "c", "main.c", (compiler, "-O2", "-std=gnu17", "-o", "main", "main.c", "-lm"), ("./main",)
    )


def _cpp() -> Toolchain:
    compiler = _need("C++", "g++", "clang++", "c++")
    return Toolchain(
        "cpp", "main.cpp", (compiler, "-O2", "-std=gnu++20", "-o", "main", "main.cpp"), ("./main",)
    )


def _javascript() -> Toolchain:
    node = os.path.realpath(_need("JavaScript", "node", "nodejs"))
    prefix = str(Path(node).parents[1])
    return Toolchain("javascript", "main.js", None, (node, "main.js"), binds=_outside_usr(f"{prefix}/"))


def _java() -> Toolchain:
    java = os.path.realpath(_need("Java", "java"))
    home = Path(java).parents[1]
    javac = home / "bin/javac"
    if not javac.exists():
        raise MissingToolchain(f"{home} has no javac; install a JDK to run Java programs")
    # With one garbage-collection thread and the fast compiler, a short program starts sooner and needs less memory.
    light = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss64m", "-XX:-UsePerfData")
    flags = tuple(f"-J{flag}" for flag in ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"))
    return Toolchain(
        "java",
        "Main.java",
        (str(javac), *flags, "-encoding", "UTF-8", "-proc:none", "-d", ".", "Main.java"),
        (java, *light, "-cp", ".", "Main"),
        binds=_outside_usr(str(home), *glob.glob("/etc/java-*")),
    )


def _rust() -> Toolchain:
    for compiler in _rust_compilers():
        prefix = str(compiler.parents[1])
        command = (str(compiler), "-O", "--edition", "2021", "-o", "main", "main.rs")
        return Toolchain("rust", "main.rs", command, ("./main",), binds=_outside_usr(prefix))
    raise MissingToolchain("no rustc on this host; install one to run Rust programs")


def _rust_compilers() -> list[Path]:
    """Return real compilers, the stable one first; `rustc` in PATH may be only rustup's shim."""
    found = [Path(p) for p in (shutil.which("rustc", path=SYSTEM_PATH), shutil.which("rustc")) if p]
    real = [p for p in map(Path.resolve, found) if p.name == "rustc"]
    rustup = os.environ.get("RUSTUP_HOME") or os.path.expanduser("~/.rustup")
    installed = map(Path, glob.glob(f"{glob.escape(rustup)}/toolchains/*/bin/rustc"))
    toolchains = sorted(installed, key=lambda p: "stable" not in str(p))
    return [p for p in [*real, *toolchains] if os.access(p, os.X_OK)]


def _go() -> Toolchain:
    go = os.path.realpath(_need("Go", "go"))
    root = str(Path(go).parents[1])
    env = {"GOCACHE": "/tmp/.cache", "GOPATH": "/tmp/.go", "GO111MODULE": "off", "GOFLAGS": "-buildvcs=false"}
    env |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOROOT": root}
    return Toolchain(
        "go", "main.go", (go, "build", "-o", "main", "main.go"), ("./main",), env, _outside_usr(root)
    )


_FINDERS: dict[str, Callable[[], Toolchain]] = {
    name: functools.cache(finder)
    for name, finder in {
        "python": _python,
        "c": _c,
        "cpp": _cpp,
        "javascript": _javascript,
        "java": _java,
        "rust": _rust,
        "go": _go,
        "bash": _bash,
    }.items()
}
