"""Finds the natural language of a text by its script: R1's prompts are English or Chinese (table 4).

    language_of("If $x = 3$, what is $x^2$?")     "en"       language_of("求 x 的值")     "zh"

Languages that share a script are not told apart: French counts as English, as in the reward language_consistency.
"""

from __future__ import annotations

import re

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]{2,}")
_LATEX = re.compile(r"\\[A-Za-z]+|```.*?```", re.DOTALL)
_OTHER = re.compile(r"[\u0370-\u1cff\u3041-\u30ff\uac00-\ud7af]")
_OTHER_SHARE = 0.2
"""Share of letters of other scripts from which on a text is of neither language; formulas have fewer Greek ones."""


def language_of(text: str) -> str | None:
    """Return "en" or "zh"; None for a text of another script or without words."""
    bare = _LATEX.sub(" ", text)
    han, latin, other = (len(pattern.findall(bare)) for pattern in (_HAN, _LATIN_WORD, _OTHER))
    if other and other / (han + sum(map(len, _LATIN_WORD.findall(bare))) + other) > _OTHER_SHARE:
        return None
    if not han and not latin:
        return None
    # A Chinese problem holds Latin names and formulas; an English one hardly a Han character.
    return "zh" if han > latin else "en"
