"""Decide which characters a reader can see; Unicode has more invisible characters than `str.strip` removes."""

from __future__ import annotations

import unicodedata

# Blank, although their Unicode categories suggest otherwise: Hangul fillers, Braille blank, Khmer inherent vowels,
# object replacement character.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\ufffc")


def is_visible(char: str) -> bool:
    """Return True if `char` is visible by itself: not a space, control, format, private-use or combining character."""
    if "!" <= char <= "~":
        return True
    return unicodedata.category(char)[0] not in "ZCM" and char not in _BLANK


def has_visible_text(text: str) -> bool:
    """Return True if any character of `text` is visible."""
    return any(map(is_visible, text))


def is_white_space(text: str) -> bool:
    """Return True if `text` is empty or only Unicode white space.

    Zero-width characters and the separator controls U+001C to U+001F do not count as white space.
    """
    return not text or (text.isspace() and not any("\x1c" <= char <= "\x1f" for char in text))


def is_invisible(char: str) -> bool:
    """Return True if `char` can hide inside a word (format character, filler, variation selector; not white space)."""
    if char < "\x7f":
        return False
    if char in _BLANK:
        return True
    category = unicodedata.category(char)
    return category in ("Cf", "Cn", "Co", "Cs") or "\ufe00" <= char <= "\ufe0f" or char == "\u034f"
