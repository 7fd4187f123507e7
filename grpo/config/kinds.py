"""Which keys of a config may change when a run is resumed: read from the kind that stands beside each key.

    kind_of(RlConfig, "learner.threads")       KeyKind.OPERATIONAL
    kind_of(RlConfig, "rewards.0.weight")      KeyKind.IDENTITY
    [key.path for key in keys_of(RlConfig)]    ["stage", "seed", "steps", …, "rewards.*.weight", …]

`policies.settings` defines the kinds. A key that may hold any table (`data.params`) has one kind for all that is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from policies.settings import KeyKind, KeyMark


@dataclass(frozen=True)
class Key:
    """One key of a config class."""

    path: str
    """Dotted, with `*` for an index of a list of sections and for a name that the recipe chooses."""
    section: type[BaseModel]
    """The class in which the key is written."""
    name: str
    """The last part of the path."""
    field: FieldInfo
    """Its type, default and bounds."""

    @property
    def kind(self) -> KeyKind:
        """Return its kind.

        Raises:
            ValueError: none stands beside it.
        """
        kinds = [mark for mark in self.field.metadata if isinstance(mark, KeyKind)]
        if not kinds:
            raise ValueError(
                f"{self.section.__name__}.{self.name} has no kind; write {self.name}: Identity[…] or Operational[…] "
                "(policies/settings.py)"
            )
        return kinds[0]


def keys_of(config: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Yield every key of a config class, those of its sections in their place; a section itself is no key."""
    for name, field in config.model_fields.items():
        section = section_in(field.annotation)
        path = f"{prefix}{name}"
        if section is None:
            yield Key(path, config, name, field)
        else:
            yield from keys_of(section, f"{path}.{'*.' if _is_many(field.annotation) else ''}")


def find(config: type[BaseModel], path: str) -> Key | type[BaseModel]:
    """Return the key at a path, or the class of the section there.

    Args:
        config: the config class.
        path: dotted, with indices of lists and names of tables: "rewards.0.weight", "data.params.count", "mix".

    Raises:
        KeyError: the class has no such key.
    """
    current, parts = config, path.split(".")
    while parts:
        name, *parts = parts
        field = current.model_fields.get(name)
        if field is None:
            raise KeyError(path)
        section = section_in(field.annotation)
        if section is None:
            return Key(path, current, name, field)
        current = section
        if _is_many(field.annotation):
            parts = parts[1:]
    return current


def kind_of(config: type[BaseModel], path: str) -> KeyKind:
    """Return the kind of a key, or of a whole section, which is identity if any of its keys is; see `find`.

    Raises:
        KeyError: the class has no such key.
        ValueError: a key without a kind.
    """
    found = find(config, path)
    if isinstance(found, Key):
        return found.kind
    kinds = {key.kind for key in keys_of(found)}
    return KeyKind.IDENTITY if KeyKind.IDENTITY in kinds else KeyKind.OPERATIONAL


def is_marked(config: type[BaseModel], path: str, mark: KeyMark) -> bool:
    """Return True for a key with this mark; False for a section, and for what is no key.

    Args:
        config, path: see `find`.
        mark: what to look for.
    """
    try:
        found = find(config, path)
    except KeyError:
        return False
    return isinstance(found, Key) and mark in found.field.metadata


def check_kinds(config: type[BaseModel]) -> None:
    """Check that every key of a config class has a kind.

    Raises:
        ValueError: names each key without one.
    """
    missing = []
    for key in keys_of(config):
        try:
            _ = key.kind
        except ValueError as error:
            missing.append(str(error))
    if missing:
        raise ValueError("\n".join(missing))


def section_in(annotation: object) -> type[BaseModel] | None:
    """Return the class of keys that a type holds: itself, in a list or table of sections, or beside None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner: Sequence[object] = getattr(annotation, "__args__", ())
    return next((found for part in inner if (found := section_in(part)) is not None), None)


def _is_many(annotation: object) -> bool:
    """Return True for a list or table of sections, also beside None."""
    if get_origin(annotation) in (tuple, list, dict):
        return True
    return any(_is_many(part) for part in getattr(annotation, "__args__", ()) if part is not Ellipsis)
