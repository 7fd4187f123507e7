"""`grpo keys`: every key that a recipe may have, from the config classes; and the same as a JSON Schema for editors."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from data_recipes.config import DatasetConfig
from data_recipes.procedural import PROCEDURAL
from grpo.common.errors import ConfigError
from grpo.common.key_hints import did_you_mean, foreign
from grpo.config.key_docs import KeyDoc, Section, sections_of
from grpo.graph.config import GraphRecipe
from grpo.stages.registry import STAGES

GRAPH = "run"
"""The command that reads recipes of several stages."""


WIDTHS = (40, 36, 14, 11, 60)
"""Columns of key, type, default, kind and source at most; a longer cell pushes its row to the right."""
LEGEND = (
    "key, type, default, kind, file:line. An operational key may change when a run is resumed; an identity key "
    "makes it another run. TOML has no null: `false` stands for none."
)


@dataclass(frozen=True)
class Place:
    """Where a section stands."""

    command: str
    path: tuple[str, ...]
    """Without the indices of lists and the names that a recipe chooses: ("eval", "data")."""
    header: str
    """As a recipe writes it, "[eval.data]"; empty for the keys at the top."""

    @property
    def full(self) -> tuple[str, ...]:
        """Command and path."""
        return (self.command, *self.path)


@dataclass(frozen=True)
class Entry:
    """The keys of one class, with all the places that it has in recipes."""

    section: Section
    places: tuple[Place, ...]
    note: str = ""
    """The case in which it is read, e.g. 'source = "chain"'."""


def recipes_of(command: str) -> type[BaseModel]:
    """Return the class of the recipes of a command.

    Raises:
        ConfigError: there is no such command.
    """
    if command == GRAPH:
        return GraphRecipe
    if command not in STAGES:
        hint = did_you_mean(command, [*STAGES, GRAPH])
        raise ConfigError(f"no stage {command!r}{hint}; there are {', '.join([*STAGES, GRAPH])}")
    return STAGES[command].config


def entries() -> list[Entry]:
    """Return all sections of all stages and of graphs; those of one class are one entry."""
    found: dict[type[BaseModel], Entry] = {}
    for command in [*STAGES, GRAPH]:
        for section in sections_of(recipes_of(command)):
            place = Place(command, tuple(part for part in section.path if part != "*"), section.header)
            known = found.get(section.config)
            places = (place,) if known is None else (*known.places, place)
            found[section.config] = Entry(section if known is None else known.section, places)
    sources = [p for config, e in found.items() if issubclass(config, DatasetConfig) for p in e.places]
    for name, source in PROCEDURAL.items():
        places = tuple(Place(p.command, (*p.path, "params"), f"[{'.'.join(p.path)}.params]") for p in sources)
        found[source.params] = Entry(next(sections_of(source.params)), places, f'source = "{name}"')
    return list(found.values())


def find(wanted: str | None, among: Sequence[Entry]) -> list[tuple[Entry, Sequence[KeyDoc]]]:
    """Return the entries, with their keys, that a name means: a stage, a section, a key, or a path that ends in one.

    Args:
        wanted: "rl", "optimizer", "rl.optimizer", "eval.data", "lr", "optimizer.lr"; None means all.
        among: from `entries`.

    Raises:
        ConfigError: nothing has that name.
    """
    if wanted is None:
        return [(entry, entry.section.keys) for entry in among]
    path = tuple(wanted.strip("[]").split("."))
    sections: list[tuple[Entry, Sequence[KeyDoc]]] = [
        (_at(entry, path), entry.section.keys)
        for entry in among
        if any(_leads_to(path, place.full) for place in entry.places)
    ]
    if sections:
        return sections
    keys: list[tuple[Entry, Sequence[KeyDoc]]] = [
        (_at(entry, path[:-1]), [key])
        for entry in among
        for key in entry.section.keys
        if key.name == path[-1] and any(_ends(place.full, path[:-1]) for place in entry.places)
    ]
    if keys:
        return keys
    names = {
        part for entry in among for place in entry.places for part in (*place.full, ".".join(place.path))
    }
    names |= {key.name for entry in among for key in entry.section.keys}
    hint = foreign(path[-1]) or did_you_mean(wanted, sorted(names)) or did_you_mean(path[-1], sorted(names))
    raise ConfigError(f"no stage, section or key {wanted!r}{hint}; `grpo keys` lists all")


def lines(found: Sequence[tuple[Entry, Sequence[KeyDoc]]], width: int | None) -> Iterator[str]:
    """Yield the lines of the listing.

    Args:
        found: from `find`.
        width: columns that texts are wrapped at; None leaves each in one line, for a file or `grep`.
    """
    for entry, keys in found:
        yield from _title(entry, width)
        rows = [
            (
                key.name,
                key.type,
                "required" if key.is_required else key.default_text or "unset",
                key.kind or "-",
                key.source,
            )
            for key in keys
        ]
        widths = [min(max((len(row[i]) for row in rows), default=0), most) for i, most in enumerate(WIDTHS)]
        for key, row in zip(keys, rows, strict=True):
            cells = [f"{cell:{size}}" for cell, size in zip(row, widths, strict=True)]
            yield f"  {'  '.join(cells)}".rstrip()
            yield from _wrapped(key.text, "      ", width)
        yield ""
    yield from _wrapped(LEGEND, "", width)


def _title(entry: Entry, width: int | None) -> Iterator[str]:
    by_header: dict[str, list[str]] = {}
    for place in entry.places:
        by_header.setdefault(place.header or "top level", []).append(place.command)
    where = "; ".join(f"{header} of {', '.join(commands)}" for header, commands in by_header.items())
    yield from _wrapped(where + (f", with {entry.note}" if entry.note else ""), "", width)
    yield from _wrapped(entry.section.class_text, "", width)


def _wrapped(text: str, indent: str, width: int | None) -> list[str]:
    if not text:
        return []
    if width is None:
        return [indent + text]
    return textwrap.wrap(text, max(width, 40), initial_indent=indent, subsequent_indent=indent)


def _at(entry: Entry, path: tuple[str, ...]) -> Entry:
    """Return the entry with those of its places alone that the path means."""
    places = tuple(place for place in entry.places if _leads_to(path, place.full)) or entry.places
    return Entry(entry.section, places, entry.note)


def _leads_to(path: tuple[str, ...], place: tuple[str, ...]) -> bool:
    """Return True if the place is what the path names, or a section inside it."""
    return any(_ends(place[:length], path) for length in range(len(path), len(place) + 1))


def _ends(place: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return not path or place[-len(path) :] == path
