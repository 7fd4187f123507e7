"""`grpo recipes NAME --print`: a recipe with every key that it may have; its own explained, the others as comments.

    # Learning rate (R1: 3e-6 …). [number > 0; default 3e-06; identity]
    lr = 0.0007                          # for 0.2 M parameters        ◀ the recipe's own line, as it is written
    # AdamW's weight decay. [number ≥ 0; identity]
    #weight_decay = 0.0                                                ◀ a default: take the # away to change it

A line that begins with "#" and a key is a setting, one that begins with "# " is text. The result is the same config; so
is the one with every setting uncommented.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from grpo.common.config_io import find_recipe, read_toml, shipped_recipes
from grpo.common.errors import ConfigError
from grpo.config.key_docs import KeyDoc, Section, key_doc, sections_of, text_of, toml_key
from grpo.config.kinds import section_in
from grpo.stages.registry import STAGES
from grpo.tools.keys import GRAPH, recipes_of
from policies.files import write_atomic
from policies.json_types import JsonDict

HOW_TO_READ = (
    "A line that begins with # and a key is a default: take the # away to change it. None is written `false`."
)
COLUMNS = 112
"""Width of the texts."""
Path_ = tuple[str | int, ...]
"""Where something stands in a recipe: names of tables, and indices of lists."""


@dataclass(frozen=True)
class Statement:
    """A header, a setting with all lines of its value, or a line that is neither."""

    text: str
    header: tuple[str, ...] | None = None
    is_list: bool = False
    """True for `[[header]]`."""
    key: tuple[str, ...] | None = None


def overview() -> Iterator[str]:
    """Yield a line for each shipped recipe: its name, its command, its first line."""
    for name in shipped_recipes():
        _, text = find_recipe(name)
        tree = read_toml(name, text)
        yield f"{name:22} grpo {tree.get('stage', GRAPH):13} {text.splitlines()[0].lstrip('# ')}"


def copy(recipe: str, out: Path) -> None:
    """Write a commented recipe into a new file.

    Raises:
        ConfigError: there is no such recipe, it is not TOML, or the file is there already.
    """
    if out.exists():
        raise ConfigError(f"{out} is there already; delete it or choose another name")
    write_atomic(out, commented(recipe))


def commented(recipe: str) -> str:
    """Return a shipped recipe or a file with all its keys explained, and all others as commented defaults.

    Raises:
        ConfigError: there is no such recipe, it is not TOML, or not one of a stage or graph.
    """
    name, text = find_recipe(recipe)
    tree = read_toml(name, text)
    is_graph = isinstance(tree.get("stages"), Mapping)
    if not is_graph and tree.get("stage") not in STAGES:
        raise ConfigError(
            f'{name}: not a recipe of a stage: add stage = "…", one of {", ".join(STAGES)}, or [graph] and [stages.…]'
        )
    return Commentator(tree, GRAPH if is_graph else tree["stage"]).run(text)


class Commentator:
    """Goes through the statements of one recipe and remembers what it has explained."""

    def __init__(self, tree: JsonDict, command: str) -> None:
        self._tree, self._command = tree, command
        self._sections = {section.path: section for section in sections_of(recipes_of(command))}
        self._explained: set[tuple[type[BaseModel], str]] = set()
        self._complete: set[tuple[str, ...]] = set()
        """Sections whose missing keys have been written, by their path without indices."""
        self._counts: dict[tuple[str, ...], int] = {}
        """Tables met so far under each `[[header]]`."""
        self._opened: set[tuple[str, ...]] = set()
        """Tables that stand above one with a header, and may have a header of their own too."""
        self._dotted: set[tuple[str, ...]] = set()
        """Tables that dotted keys make."""
        self._headers: set[tuple[str, ...]] = set()

    def run(self, text: str) -> str:
        """Return the commented text."""
        lines: list[str] = []
        blocks: list[list[Statement]] = [[]]
        header: tuple[str, ...] = ()
        for statement in statements(text):
            if statement.header is not None:
                blocks.append([])
                header = statement.header
                self._opened.update(header[:length] for length in range(1, len(header)))
                self._headers.add(header)
            if statement.key is not None:
                self._dotted.update(
                    (*header, *statement.key[:length]) for length in range(1, len(statement.key))
                )
            blocks[-1].append(statement)
        for block in blocks:
            lines += self._block(block)
        while lines and not lines[-1].strip():
            lines.pop()
        for section in self._sections.values():
            names = tuple(part for part in section.path if part != "*")
            if section.path and "*" not in section.path[:-1]:
                lines += self._absent(section, names)
        title = 1 if lines[0].startswith("#") else 0
        lines[title:title] = prose(HOW_TO_READ)
        return "\n".join(lines).strip("\n") + "\n"

    def _block(self, block: Sequence[Statement]) -> Iterator[str]:
        """Yield a header with its settings; the missing ones stand behind the last."""
        place: Path_ = ()
        if block and block[0].header is not None:
            place = self._place(block[0])
        section = self._section(place)
        if place:
            yield from self._section_text(section) if section is not None else self._setting_text(place)
        last = max((i for i, found in enumerate(block) if found.key or found.header), default=-1)
        if last < 0 and section is not None and not section.path:
            yield from (found.text for found in block)
            yield from self._missing(section, place)
            return
        for number, found in enumerate(block):
            if found.key is not None:
                yield from self._setting_text((*place, *found.key))
            yield found.text
            if number == last and section is not None:
                missing = list(self._missing(section, place))
                yield from missing
                if "" in missing and last == len(block) - 1:
                    yield ""

    def _place(self, header: Statement) -> Path_:
        """Return where a header leads, with the index of the newest table of each list on the way."""
        assert header.header is not None
        place: list[str | int] = []
        names: tuple[str, ...] = ()
        for depth, part in enumerate(header.header):
            place.append(part)
            names = (*names, part)
            if header.is_list and depth == len(header.header) - 1:
                self._counts[names] = self._counts.get(names, -1) + 1
            if names in self._counts:
                place.append(self._counts[names])
        return tuple(place)

    def _section(self, place: Path_) -> Section | None:
        """Return the section at a place; None in a table of any keys."""
        return self._sections.get(self._general(place))

    def _general(self, place: Path_) -> tuple[str, ...]:
        """Return a place as the path of a section: "*" for indices and for the names that a recipe chooses."""
        path: tuple[str, ...] = ()
        for part in place:
            named = (*path, "*") in self._sections
            path = (*path, "*" if isinstance(part, int) or named else part)
        return path

    def _section_text(self, section: Section) -> Iterator[str]:
        if (section.config, "") not in self._explained:
            self._explained.add((section.config, ""))
            yield from prose(section.text)

    def _setting_text(self, place: Path_) -> Iterator[str]:
        """Yield the text of a setting that the recipe has, the first time that its key comes."""
        config, name, is_open = self._owner(place)
        if config is None or (config, name) in self._explained:
            return
        self._explained.add((config, name))
        if section_in(config.model_fields[name].annotation) is not None:
            yield from prose(f"{text_of(config, name)} Its keys: `grpo keys {name}`.")
        elif is_open:
            yield from prose(text_of(config, name))
        else:
            yield from prose(_with_type(key_doc(config, name), is_set=True))

    def _owner(self, place: Path_) -> tuple[type[BaseModel] | None, str, bool]:
        """Return the class and name of the key at a place, and if the place is inside the key's table."""
        path = self._general(place)
        command = self._command
        sections = self._sections
        if command == GRAPH and path[:1] == ("stages",) and path[2:3] == ("set",) and len(path) > 3:
            # What a graph sets of a stage is a key of that stage.
            command = str(self._tree["stages"][place[1]]["command"])
            if command not in STAGES:
                return None, "", False
            sections = {section.path: section for section in sections_of(recipes_of(command))}
            path = tuple(part for dotted in map(str, place[3:]) for part in dotted.split("."))
        for length in range(len(path), 0, -1):
            section = sections.get(path[: length - 1])
            if section is not None and path[length - 1] in section.config.model_fields:
                return section.config, path[length - 1], length < len(path)
        return None, "", False

    def _missing(self, section: Section, place: Path_, prefix: str = "") -> Iterator[str]:
        """Yield the keys that a section of the recipe lacks, for the first table of a list or of names."""
        if section.path in self._complete:
            return
        self._complete.add(section.path)
        node = self._node(place)
        for key in section.keys:
            if key.name not in node:
                yield from self._default(key, prefix)
        for inner in self._sections.values():
            if not inner.path or inner.parent != section.path:
                continue
            there = (*place, inner.name)
            if _names(there) in self._dotted:
                yield from self._missing(inner, there, f"{prefix}{toml_key(inner.name)}.")
            elif place and not prefix:
                yield from self._absent(inner, there)

    def _absent(self, section: Section, place: Path_) -> Iterator[str]:
        """Yield a section without a header in the recipe: its defaults, or a line about it if it has none."""
        is_there = place[-1] in self._node(place[:-1])
        if any(self._is_inline(place[:length]) for length in range(1, len(place))):
            return
        if section.path in self._complete or (is_there and _names(place) not in self._opened):
            return  # it is written already, or as an inline table, which nothing can be added to
        self._complete.add(section.path)
        header = ".".join(toml_key(name) for name in _names(place))
        yield ""
        if section.shape == "one" and not section.is_optional and (is_there or not section.is_required):
            yield from self._section_text(section)
            yield f"#[{header}]"
            for key in section.keys:
                if key.name not in self._node(place):
                    yield from self._default(key)
            return
        shown = f"[[{header}]]" if section.shape == "list" else f"[{header}]"
        need = "must be added" if section.is_required else "none here"
        yield from prose(f"{shown}, {need}: {section.text} Its keys: `grpo keys {place[-1]}`.")

    def _is_inline(self, place: Path_) -> bool:
        """Return True for a table that the recipe has as a value, { … }, to which no header can add."""
        names = _names(place)
        open_tables = self._headers | self._opened | self._dotted
        return place[-1] in self._node(place[:-1]) and names not in open_tables

    def _default(self, key: KeyDoc, prefix: str = "") -> Iterator[str]:
        yield from prose(_with_type(key, is_set=False))
        if key.default_text is not None:
            yield f"#{prefix}{key.name} = {key.default_text}"
        else:
            yield f"# {prefix}{key.name} = …" + (
                ", must be given" if key.is_required else ", not set by default"
            )

    def _node(self, place: Path_) -> JsonDict:
        """Return the table at a place; an empty one if there is none."""
        node: object = self._tree
        for part in place:
            if isinstance(node, list) and isinstance(part, int):
                node = node[part]
            else:
                node = node.get(part, {}) if isinstance(node, dict) else {}
        return node if isinstance(node, dict) else {}


def statements(text: str) -> Iterator[Statement]:
    """Yield the statements of a TOML text in order; joined by line ends they are the text."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        bare = line.strip()
        if not bare or bare.startswith("#"):
            yield Statement(line)
        elif bare.startswith("["):
            path, is_list = _header(line)
            yield Statement(line, header=path, is_list=is_list)
        else:
            end = at + 1
            while not _is_toml("\n".join(lines[at:end])):
                end += 1
            line = "\n".join(lines[at:end])
            yield Statement(line, key=_key(line))
            at = end - 1
        at += 1


def prose(text: str) -> list[str]:
    """Return a text as comment lines."""
    return textwrap.wrap(text, COLUMNS, initial_indent="# ", subsequent_indent="# ")


def _names(place: Path_) -> tuple[str, ...]:
    return tuple(part for part in place if isinstance(part, str))


def _with_type(key: KeyDoc, is_set: bool) -> str:
    facts = [key.type]
    if is_set and key.default_text is not None and key.name != "stage":
        facts.append(f"default {key.default_text}")
    if key.kind is not None:
        facts.append(key.kind)
    return f"{key.text} [{'; '.join(facts)}]".lstrip()


def _header(line: str) -> tuple[tuple[str, ...], bool]:
    found: object = tomllib.loads(line)
    path: list[str] = []
    is_list = False
    while found:
        if isinstance(found, list):
            is_list, found = True, found[0]
            continue
        assert isinstance(found, dict)
        name, found = next(iter(found.items()))
        path.append(name)
    return tuple(path), is_list


def _key(statement: str) -> tuple[str, ...]:
    """Return the key of a setting, dotted ones in parts."""
    at = statement.index("=")
    while not _is_toml(f"{statement[:at]}= 0"):
        at = statement.index("=", at + 1)
    path: list[str] = []
    found: object = tomllib.loads(f"{statement[:at]}= 0")
    while isinstance(found, dict):
        name, found = next(iter(found.items()))
        path.append(name)
    return tuple(path)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
