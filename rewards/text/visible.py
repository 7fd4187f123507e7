"""Which characters a reader can see. Unicode hides text in more places than `str.strip` knows."""

from __future__ import annotations

import unicodedata

# Letters and symbols by category, blank by design: Hangul fillers, Braille blank, Khmer inherent vowels, object slot.
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u17b4\u17b5\ufffc")


def is_visible(char: str) -> bool:
    """True if `char` alone puts ink on the page: no space, control, format, private use or bare mark."""
    if "!" <= char <= "~":
        return True
    return unicodedata.category(char)[0] not in "ZCM" and char not in _BLANK


def has_visible_text(text: str) -> bool:
    """True if any character of `text` is visible."""
    return any(map(is_visible, text))


def is_white_space(text: str) -> bool:
    """True if `text` is empty or only Unicode white space (zero-width characters and controls are not)."""
    return not text or (text.isspace() and not any("\x1c" <= char <= "\x1f" for char in text))


def is_invisible(char: str) -> bool:
    """True for what hides inside words: format characters, fillers, variation selectors; not for white space."""
    if char < "\x7f":
        return False
    if char in _BLANK:
        return True
    category = unicodedata.category(char)
    return category in ("Cf", "Cn", "Co", "Cs") or "\ufe00" <= char <= "\ufe0f" or char == "\u034f"
