"""Encodes plain data as bytes and decodes it: the format between the harness and a program in the sandbox.

    encode((1, "a", {2.5}))  →  b't3:i1;s1:ae1:f0x1.4p+1;'

Types that JSON loses survive: tuple and list, int, float and bool, bytes, sets, big integers, inf and nan. All
bytes are ASCII (other text is written in base64), so an encoding passes through any channel that carries text.
Decoding walks over length-prefixed items: it evaluates and hashes nothing, allocates no more than the size of the
input, and bounds the depth, so a hostile program may send anything. The same file runs inside the sandbox, so it
needs only the standard library and no warm-up.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Value = Any
"""A value of a program: whatever it returned, or plain data. Any: the program determines its class."""

MAX_DEPTH = 64
MAX_DRAINED = 100_000
"""Maximum number of items taken from an iterator that a program returns."""


class NotPlain(ValueError):
    """A value that `encode` cannot carry, or bytes that are not a valid encoding."""


class Opaque:
    """Stands for a value that is not plain data; it equals nothing."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __eq__(self, other: object) -> bool:
        return False


class Drained:
    """An iterator that a program returned, as a check sees it."""

    def __init__(self, items: Iterable[Value]) -> None:
        self._left = iter(list(items))

    def __iter__(self) -> Drained:
        return self

    def __next__(self) -> Value:
        return next(self._left)


class Items:
    """A dict, set, frozenset or iterator as decoded: its items in a list, not hashed yet (`plain` does that)."""

    def __init__(self, kind: str, items: list[Value]) -> None:
        self.kind, self.items = kind, items


_KINDS = {"l": list, "t": tuple, "e": set, "z": frozenset, "g": Drained}


def encode(value: object, strict: bool = False) -> bytes:
    """Encode a value as bytes. Instances of subclasses are written as their base class; sets are sorted, so that equal
    sets give equal bytes.

    Args:
        value: the value to encode.
        strict: True raises an error for a value that is not plain data; False writes an `Opaque` for it.

    Raises:
        NotPlain: the value is nested deeper than MAX_DEPTH, or `strict` and not plain data.
    """
    parts: list[bytes] = []
    _write(value, parts.append, strict, 0)
    return b"".join(parts)


def decode(data: bytes) -> Value:
    """Decode bytes, as the inverse of `encode`; sets, dicts and iterators become `Items`.

    Raises:
        NotPlain: the bytes are not a valid encoding, or are nested deeper than MAX_DEPTH.
    """
    value, end = decode_at(data, 0)
    if end != len(data):
        raise NotPlain("more bytes than one value")
    return value


def decode_at(data: bytes, at: int) -> tuple[Value, int]:
    """Return the value that starts at offset `at`, and the offset after it. Raises NotPlain."""
    try:
        return _read(data, at, 0)
    except (ValueError, IndexError, OverflowError) as error:
        raise NotPlain(f"not an encoding: {error}") from error


def plain(value: object) -> Value:
    """Convert a decoded value into Python's own types: `Items` become dicts, sets and iterators.

    Raises:
        TypeError: a member of a set or a key is unhashable.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if not isinstance(value, Items):
        return value
    if value.kind == "d":
        return {plain(key): plain(item) for key, item in value.items}
    return _KINDS[value.kind](map(plain, value.items))


def same(found: Value, expected: Value, tolerance: float = 0.0, loose: bool = False) -> bool:
    """Return True if a decoded value is the expected one, by Python's `==` with three exceptions.

    A bool equals only a bool; nan equals nan; and where a float is expected, the values may differ by
    tolerance · max(1, |expected|).

    Args:
        found: result of `decode`.
        expected: plain data.
        tolerance: accepted difference; 0 compares exactly.
        loose: `expected` came from JSON, which has neither tuples nor non-string keys: a tuple may stand for a list,
            and the key 1 for "1".
    """
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(expected, int | float):
        if not isinstance(found, int | float):
            return False
        return found == expected or (isinstance(expected, float) and _near(found, expected, tolerance))
    if isinstance(expected, list | tuple):
        fits = isinstance(found, list | tuple) and (loose or type(found) is type(expected))
        return (
            fits
            and len(found) == len(expected)
            and all(same(f, e, tolerance, loose) for f, e in zip(found, expected, strict=True))
        )
    if isinstance(expected, set | frozenset | dict):
        kinds = ("d",) if isinstance(expected, dict) else ("e", "z")
        # Compare sizes first: data that a program sent is hashed only up to the size of what was expected.
        if not isinstance(found, Items) or found.kind not in kinds or len(found.items) != len(expected):
            return False
        try:
            if not isinstance(expected, dict):
                return bool({plain(item) for item in found.items} == expected)
            by_key = {_json_key(plain(key)) if loose else plain(key): item for key, item in found.items}
        except TypeError:
            return False
        return by_key.keys() == expected.keys() and all(
            same(by_key[key], item, tolerance, loose) for key, item in expected.items()
        )
    return type(found) is type(expected) and bool(found == expected)


def _near(found: float, expected: float, tolerance: float) -> bool:
    if found != found and expected != expected:
        return True
    try:
        return math.isfinite(found) and abs(found - expected) <= tolerance * max(1.0, abs(expected))
    except OverflowError:
        return False


def _json_key(key: object) -> object:
    """Return the key as JSON would write it."""
    if isinstance(key, bool) or key is None:
        return {True: "true", False: "false", None: "null"}[key]
    return str(key) if isinstance(key, int | float) else key


def _write(value: object, put: Callable[[bytes], None], strict: bool, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotPlain(f"nested deeper than {MAX_DEPTH}")
    if value is None or value is True or value is False:
        put({None: b"N", True: b"T", False: b"F"}[value])
    elif isinstance(value, int):
        put(b"i%s;" % format(int.__pos__(value), "x").encode())
    elif isinstance(value, float):
        put(b"f%s;" % float.hex(value).encode())
    elif isinstance(value, complex):
        put(b"c%s,%s;" % (value.real.hex().encode(), value.imag.hex().encode()))
    elif isinstance(value, str):
        _write_text(b"s", str.encode(value, "utf-8", "surrogatepass"), put)
    elif isinstance(value, bytes | bytearray):
        _write_text(b"b", bytes(value), put)
    elif isinstance(value, list | tuple):
        put(b"%s%d:" % (b"l" if isinstance(value, list) else b"t", len(value)))
        for item in value:
            _write(item, put, strict, depth + 1)
    elif isinstance(value, dict):
        put(b"d%d:" % dict.__len__(value))
        for key, item in dict.items(value):
            _write(key, put, strict, depth + 1)
            _write(item, put, strict, depth + 1)
    elif isinstance(value, set | frozenset):
        put(b"%s%d:" % (b"e" if isinstance(value, set) else b"z", len(value)))
        for part in sorted(_one(item, strict, depth + 1) for item in value):
            put(part)
    elif strict:
        raise NotPlain(f"{type(value).__name__} is no plain data")
    elif isinstance(value, Iterable) and not isinstance(value, type):
        items = _drain(iter(value), depth + 1)
        put(b"g%d:" % len(items))
        for part in items:
            put(part)
    else:
        _write_text(b"o", type(value).__name__.encode("utf-8", "surrogatepass"), put)


def _write_text(tag: bytes, text: bytes, put: Callable[[bytes], None]) -> None:
    """Write tag s, b or o with the text itself if it is ASCII, else tag S, B or O with its base64."""
    if not text.isascii():
        tag, text = tag.upper(), binascii.b2a_base64(text, newline=False)
    put(b"%s%d:" % (tag, len(text)))
    put(text)


def _one(value: object, strict: bool, depth: int) -> bytes:
    parts: list[bytes] = []
    _write(value, parts.append, strict, depth)
    return b"".join(parts)


def _drain(iterator: Iterator[Value], depth: int) -> list[bytes]:
    items: list[bytes] = []
    for item in iterator:
        if len(items) == MAX_DRAINED:
            raise NotPlain(f"an iterator of more than {MAX_DRAINED} items")
        items.append(_one(item, False, depth))
    return items


def _read(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    if depth > MAX_DEPTH + 1:
        raise ValueError("nested too deep")
    tag = chr(data[at])
    at += 1
    if tag in "NTF":
        return {"N": None, "T": True, "F": False}[tag], at
    if tag in "ifc":
        end = data.index(b";", at)
        text = data[at:end].decode("ascii")
        if tag == "i":
            return int(text, 16), end + 1
        if tag == "f":
            return float.fromhex(text), end + 1
        real, _, imaginary = text.partition(",")
        return complex(float.fromhex(real), float.fromhex(imaginary)), end + 1
    colon = data.index(b":", at, at + 20)
    digits = data[at:colon]
    if not digits.isdigit():
        raise ValueError("no length")
    size, at = int(digits), colon + 1
    # Every item takes at least one byte, so no list grows beyond the size of the input.
    if size > len(data) - at:
        raise ValueError("shorter than announced")
    if tag in "sboSBO":
        text_bytes = data[at : at + size]
        if tag.isupper():
            text_bytes = binascii.a2b_base64(text_bytes)
        if tag in "bB":
            return text_bytes, at + size
        text = text_bytes.decode("utf-8", "surrogatepass")
        return (text if tag in "sS" else Opaque(text)), at + size
    items: list[Value] = []
    if tag not in "ltezgd":
        raise ValueError("unknown tag")
    for _ in range(size):
        item, at = _read(data, at, depth + 1)
        if tag == "d":
            value, at = _read(data, at, depth + 1)
            item = (item, value)
        items.append(item)
    if tag == "l":
        return items, at
    return (tuple(items) if tag == "t" else Items(tag, items)), at
