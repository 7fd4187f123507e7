"""Unpacks the tests that LiveCodeBench compresses (column `private_test_cases`): base64 of zlib of a pickled JSON text.

    packed("eJxr…")  ->  '[{"input": "3 4", "output": "7", "testtype": "stdin"}]'

The pickle is never loaded: its opcodes are read, and one that does anything but push a single string is refused.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import re
import zlib

MAX_BYTES = 256 << 20
"""Maximum size of the unpacked text."""
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_HARMLESS = frozenset("PROTO FRAME MEMOIZE PUT BINPUT LONG_BINPUT STOP".split())
_STRINGS = frozenset("UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8".split())


class BadPacking(ValueError):
    """The text is base64 of something compressed, but cannot be unpacked."""


def unpacked(text: str) -> str | None:
    """Return the JSON text that `text` packs, or None if `text` is not base64 of a zlib stream.

    Raises:
        BadPacking: the stream is broken or too large, or holds anything but one string.
    """
    start = text.lstrip()[:2]
    if start not in ("eJ", "eN", "eA", "eF") or not _BASE64.fullmatch(text) or len(text.split()) > 1:
        return None
    try:
        inflater = zlib.decompressobj()
        data = inflater.decompress(base64.b64decode(text, validate=True), MAX_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise BadPacking(f"compressed text that cannot be unpacked: {error}") from None
    if inflater.unconsumed_tail:
        raise BadPacking(f"compressed text of more than {MAX_BYTES >> 20} MiB")
    if not inflater.eof:
        raise BadPacking("compressed text that ends too early")
    try:
        return data.decode() if data[:1] in (b"[", b"{") else _pickled_text(data)
    except UnicodeDecodeError as error:
        raise BadPacking(f"compressed bytes that are no text: {error}") from None


def _pickled_text(data: bytes) -> str:
    found: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name in _STRINGS and isinstance(argument, str):
                found.append(argument)
            elif opcode.name not in _HARMLESS:
                raise BadPacking(f"a pickle with the opcode {opcode.name}; only a single string is read")
    except (ValueError, IndexError, EOFError) as error:
        if isinstance(error, BadPacking):
            raise
        raise BadPacking(f"compressed bytes that are neither JSON nor a pickled text: {error}") from None
    if len(found) != 1:
        raise BadPacking(f"a pickle of {len(found)} strings; expected one JSON text")
    return found[0]
