"""Packages that Python programs may import besides the standard library: those of this environment that are named.

    find_packages(["pandas"])      pandas, numpy, dateutil, …: with everything that it requires

A sandbox shows programs the named packages alone, read-only; on the hosts of a pool they must be installed.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement

from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.settings import SandboxSettings

THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Variables of programs that may import packages: their threads would count as tasks of the program."""
HOW_TO = 'params = { sandbox = { packages = ["numpy"] } }'


@dataclass(frozen=True)
class Packages:
    """Where packages are on this host."""

    modules: dict[str, str] = field(default_factory=dict)
    """The name that a program imports → the folder or file."""
    binds: tuple[str, ...] = ()
    """Every file and folder that they need."""


def find_packages(names: Sequence[str]) -> Packages:
    """Find packages by the names that programs import, with what they require.

    Raises:
        SandboxUnavailable: one is not installed here.
    """
    if not names:
        return Packages()
    owners = importlib.metadata.packages_distributions()
    modules: dict[str, str] = {}
    binds: dict[str, None] = {}
    for name in names:
        if name not in owners:
            raise SandboxUnavailable(
                f"sandbox.packages: {name!r} is not installed in this environment; install it here, or leave it out"
            )
    for distribution in _with_requirements([owner for name in names for owner in owners[name]]):
        for path in _top_level(distribution):
            binds[str(path)] = None
            if (module := path.name.partition(".")[0]).isidentifier() and path.suffix in ("", ".py", ".so"):
                modules[module] = str(path)
    return Packages(modules, tuple(binds))


def describe_imports(settings: SandboxSettings) -> str:
    """Say what programs may import, in a sentence for a reader."""
    if settings.urls:
        named = f"; {', '.join(settings.packages)} were found there" if settings.packages else ""
        return f"programs may import what the sandbox hosts have{named}"
    if settings.packages:
        return (
            f"programs may import the standard library, {', '.join(settings.packages)} and what these require"
        )
    return f"programs may import the standard library alone, not numpy or others; name them to allow it: {HOW_TO}"


def probe_source(names: Sequence[str]) -> bytes:
    """Return a program that imports the packages and prints 42."""
    return "".join(f"import {name}\n" for name in names).encode() + b"print(6 * 7)\n"


def _with_requirements(names: Sequence[str]) -> Iterator[importlib.metadata.Distribution]:
    """Yield the distributions of these names and those that they require, each once; optional extras are left out."""
    todo, known = list(names), set()
    while todo:
        name = todo.pop(0)
        key = name.lower().replace("_", "-").replace(".", "-")
        if key in known:
            continue
        known.add(key)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # a requirement that this environment does without
            continue
        yield distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)


def _top_level(distribution: importlib.metadata.Distribution) -> Iterator[Path]:
    """Yield the files and folders that a distribution has beside others': its packages, its libraries."""
    tops = dict.fromkeys(file.parts[0] for file in distribution.files or ())
    for top in tops:
        if top in ("..", "__pycache__") or top.endswith((".dist-info", ".egg-info", ".pth")):
            continue
        path = Path(str(distribution.locate_file(top))).resolve()
        if path.exists():
            yield path
