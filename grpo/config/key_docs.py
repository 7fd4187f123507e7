"""What a config class says of its keys: type, default, kind, text and place of each, from the class's own source.

    for section in sections_of(RlConfig):           the keys at the top, then [policy], [policy.lora], [data], …
        for key in section.keys:                    "steps": integer ≥ 1, required, operational, "Number of optimizer …"

A key's text stands under it in the class. A key that is a section may leave it out: it has the class's.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin  # Any: annotations and defaults of any type

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from grpo.config.kinds import section_in
from policies.settings import KeyKind

Shape = Literal["one", "list", "named"]
"""A section stands once, `[x]`; any number of times, `[[x]]`; or under names that the recipe chooses, `[x.NAME]`."""
WORDS: Mapping[object, str] = {
    int: "integer",
    float: "number",
    str: "text",
    bool: "true or false",
    Path: "path",
    Any: "any value",
}
BOUNDS = (
    (annotated_types.Ge, "ge", "≥"),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "≤"),
    (annotated_types.Lt, "lt", "<"),
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class KeyDoc:
    """One key that is no section."""

    name: str
    field: FieldInfo
    kind: KeyKind | None
    """None if the class, an installed package's, does not say."""
    text: str
    """What the key is, in one line; empty if the class, an installed package's, does not say."""
    source: str
    """File and line of the key, e.g. "grpo/config/rl.py:31"."""

    @property
    def type(self) -> str:
        """Its type and bounds in words."""
        return type_text(self.field)

    @property
    def is_required(self) -> bool:
        """True if there is no default."""
        return self.field.is_required()

    @property
    def default(self) -> object:
        """Its default as JSON types; None for a required key too."""
        return None if self.is_required else plain(self.field.get_default(call_default_factory=True))

    @property
    def default_text(self) -> str | None:
        """Its default as TOML; None if it has none, or one that TOML cannot write: an open switch."""
        is_open_switch = self.default is None and bool in get_args(self.field.annotation)
        return None if self.is_required or is_open_switch else literal(self.default)


@dataclass(frozen=True)
class Section:
    """The keys of one class at one place of a recipe."""

    path: tuple[str, ...]
    """("policy", "lora"); () for the keys at the top. "*" for the index of a list and for a name."""
    config: type[BaseModel]
    shape: Shape
    is_optional: bool
    """True if the recipe may have none of it, and has none by default."""
    is_required: bool
    """True if the recipe must have it."""
    text: str
    """What it is here, in one line."""
    keys: tuple[KeyDoc, ...]

    @property
    def name(self) -> str:
        """The key that holds it."""
        return self.path[-2] if self.path[-1] == "*" else self.path[-1]

    @property
    def parent(self) -> tuple[str, ...]:
        """The path of the section that it stands in."""
        return self.path[:-2] if self.path[-1] == "*" else self.path[:-1]

    @property
    def class_text(self) -> str:
        """What its class says of itself."""
        return _class_text(self.config)

    @property
    def header(self) -> str:
        """Its header in TOML; empty for the keys at the top."""
        if not self.path:
            return ""
        dotted = ".".join("NAME" if part == "*" else part for part in self.path)
        if self.shape == "list":
            return f"[[{dotted.removesuffix('.NAME')}]]"
        return f"[{dotted}]"


def sections_of(config: type[BaseModel]) -> Iterator[Section]:
    """Yield the keys at the top, then every section in the order of the fields, those inside it after it."""
    yield from _sections(config, (), "one", False, True, _class_text(config))


def _sections(
    config: type[BaseModel],
    path: tuple[str, ...],
    shape: Shape,
    is_optional: bool,
    is_required: bool,
    text: str,
) -> Iterator[Section]:
    inner = {name: section_in(field.annotation) for name, field in config.model_fields.items()}
    keys = tuple(key_doc(config, name) for name, found in inner.items() if found is None)
    yield Section(path, config, shape, is_optional, is_required, text, keys)
    for name, found in inner.items():
        if found is None:
            continue
        field = config.model_fields[name]
        kind = shape_of(field.annotation)
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        yield from _sections(
            found,
            (*path, name, *(() if kind == "one" else ("*",))),
            kind,
            not field.is_required() and not default,
            field.is_required(),
            text_of(config, name),
        )


def key_doc(config: type[BaseModel], name: str) -> KeyDoc:
    """Return what the class says of one of its keys."""
    field = config.model_fields[name]
    kind = next((mark for mark in field.metadata if isinstance(mark, KeyKind)), None)
    return KeyDoc(name, field, kind, text_of(config, name), source_of(config, name))


def text_of(config: type[BaseModel], name: str) -> str:
    """Return the text of a key, from the class that wrote it last; of a section without one, its class's; else ""."""
    for owner in config.__mro__:
        text, _ = _written(owner).get(name, ("", 0))
        if text:
            return text
    found = section_in(config.model_fields[name].annotation)
    return _class_text(found) if found is not None else ""


def source_of(config: type[BaseModel], name: str) -> str:
    """Return file and line of the key in the class that wrote it last, from the folder of its package."""
    for owner in config.__mro__:
        if name in _written(owner):
            file = Path(inspect.getfile(owner))
            root = file.parents[owner.__module__.count(".")]
            return f"{file.relative_to(root).as_posix()}:{_written(owner)[name][1]}"
    raise KeyError(name)


def shape_of(annotation: object) -> Shape:
    """Return how often a section of this type stands in a recipe."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return next((s for part in get_args(annotation) if (s := shape_of(part)) != "one"), "one")
    return "named" if origin is dict else "list" if origin in (tuple, list) else "one"


def type_text(field: FieldInfo) -> str:
    """Return a field's type in TOML's words with its bounds, e.g. "integer ≥ 1, or false"."""
    text = _type_words(field.annotation)
    bounds = [
        f"{sign} {getattr(mark, name):g}"
        for kind, name, sign in BOUNDS
        for mark in field.metadata
        if isinstance(mark, kind)
    ]
    optional = text.endswith(", or false")
    text = text.removesuffix(", or false") + "".join(f" {bound}" for bound in bounds)
    return text + (", or false" if optional else "")


def literal(value: object) -> str:
    """Return a value of JSON types as TOML: `false` for null, which TOML lacks, tables inline."""
    if value is None:
        return "false"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{toml_key(str(key))} = {literal(v)}" for key, v in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(literal, value))}]"
    # JSON's quotes and escapes are TOML's, but for DEL.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_key(name: str) -> str:
    """Return a key as TOML writes it, in quotes if it must."""
    return name if _BARE_KEY.fullmatch(name) else literal(name)


def plain(value: object) -> object:
    """Return a default as JSON types."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    assert value is not PydanticUndefined
    return str(value) if isinstance(value, Path) else value


def _type_words(annotation: object) -> str:
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        words = " or ".join(_type_words(part) for part in arguments if part is not NoneType)
        # A switch that may be left open has no literal for it: false is false.
        return words + (", or false" if NoneType in arguments and bool not in arguments else "")
    if origin is Literal:
        return " | ".join(literal(value) for value in arguments)
    if origin in (tuple, list):
        if origin is tuple and Ellipsis not in arguments:
            return f"[{', '.join(map(_type_words, arguments))}]"
        return f"list of {_type_words(arguments[0])}"
    if origin is dict or annotation is dict:
        return f"table of {_type_words(arguments[1])}" if arguments else "table"
    return WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _class_text(config: type[BaseModel]) -> str:
    """Return the first paragraph of a class's docstring, in one line."""
    return " ".join(inspect.cleandoc(config.__doc__ or "").partition("\n\n")[0].split())


@functools.cache
def _written(owner: type) -> Mapping[str, tuple[str, int]]:
    """Return the keys that stand in a class itself: name → its text and its line."""
    if not (isinstance(owner, type) and issubclass(owner, BaseModel)) or owner is BaseModel:
        return {}
    try:
        lines, start = inspect.getsourcelines(owner)
    except (OSError, TypeError):  # made at run time, or installed without its source
        return {}
    body = ast.parse(textwrap.dedent("".join(lines))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            text = str(after.value.value) if is_text else ""  # type: ignore[union-attr]
            found[node.target.id] = (" ".join(text.split()), start + node.lineno - 1)
    return found
