"""Values of a stage's `set`: flattened to key paths, with their references to artefacts of other stages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any  # Any: values of a TOML tree

REFERENCE = re.compile(r"\{([a-z][a-z0-9-]*)\.([a-z_]+)\}(/.*)?")
"""Matches whole strings only, so that LaTeX or a template with braces stays as it is."""
SEED = "{seed}"
_BRACES = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True)
class Reference:
    """A value in a config that stands for an artefact of another stage."""

    stage: str
    output: str
    key: str
    """The path of the config key that holds it."""


def flatten(
    section: Mapping[str, object], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield (key path, value) of a `set` section: dotted keys and tables give the same, lists stay whole."""
    for key, value in section.items():
        path = (*prefix, *key.split("."))
        if isinstance(value, Mapping) and value:
            yield from flatten(value, path)
        else:
            yield path, value


def references(value: object, key: str) -> Iterator[Reference]:
    """Yield every reference in a value, in its lists and tables too."""
    for inner, where in leaves(value, key):
        if isinstance(inner, str) and (match := REFERENCE.fullmatch(inner)):
            yield Reference(match[1], match[2], where)


def is_broken_reference(value: object) -> bool:
    """Return True for a file's name that is written like a reference and is none.

    "{Zero.policy}", " {zero.policy}" and "{zero.policy}.bak" are not; nor is one that leads out of the artefact,
    "{zero.policy}/../x".
    """
    if not isinstance(value, str) or value == SEED or not _BRACES.search(value):
        return False
    match = REFERENCE.fullmatch(value)
    return match is None or ".." in (match[3] or "").split("/")


def fill(value: object, paths: Mapping[tuple[str, str], str], seed: int) -> Any:
    """Return the value with "{stage.output}" replaced by the artefact's path and "{seed}" by the seed.

    Raises:
        KeyError: `paths` lacks a reference.
    """
    if isinstance(value, str):
        if value == SEED:
            return seed
        match = REFERENCE.fullmatch(value)
        return paths[match[1], match[2]] + (match[3] or "") if match else value
    if isinstance(value, Mapping):
        return {k: fill(v, paths, seed) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [fill(v, paths, seed) for v in value]
    return value


def leaves(value: object, key: str = "") -> Iterator[tuple[object, str]]:
    """Yield (leaf, its dotted path) of a config tree; elements of a list have numbers."""
    items: Iterator[tuple[object, object]] | None = None
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list | tuple):
        items = iter(enumerate(value))
    if items is None:
        yield value, key
        return
    for name, inner in items:
        yield from leaves(inner, f"{key}.{name}" if key else str(name))
