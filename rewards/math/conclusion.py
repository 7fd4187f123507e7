"""Find the option that a sentence settles on: "C is wrong, so the answer is F" settles on F.

A settling clause is one of

    (the) answer|option|choice is|: …        I choose|pick|select|go with …        答案是…  选…
    … is (the) correct|right|best (answer)   only … is correct                     …是正确的  …正确

It counts if it ends the text, no other clause settles on something else, the clause is neither negated, conditional nor
somebody else's, and nothing in the text hedges. Clauses in front of it may say anything else about other options.
"""

from __future__ import annotations

import re

_NAMED = (
    r"(?:\b(?:the|my)\s+)?(?:\b(?:final|correct|right|best|only)\s+)*\b(?:answer|option|choice)"
    r"(?:\s+(?:is|must\s+be|has\s+to\s+be|should\s+be|turns\s+out\s+to\s+be)(?:\s+(?:clearly|therefore|thus|then))?\s*:?"
    r"|\s*[:=])\s*(?:(?:option|choice|letter)\s+)?"
)
_TAKEN = (
    r"\b(?:I|we)(?:'d|'ll|\s+would|\s+will|\s+therefore|\s+thus)?\s+(?:choose|pick|select|go\s+with|chose|picked|selected)\s+"
    r"(?:(?:the\s+)?(?:option|choice|answer)\s+)?"
)
_BRIEF = (
    r"\b(?:it(?:'s|\s+is|\s+must\s+be|\s+has\s+to\s+be)|I\s+(?:think|believe|conclude)(?:\s+that)?|so|thus|hence|therefore)[,:]?\s+"
    r"(?=(?:(?:option|choice)\s+)?[(*_`$]*[A-J][)*_`$]*\s*(?:[.,。]|$))(?:(?:option|choice)\s+)?"
)
_REASON = re.compile(
    r"^(.*(?<![A-Za-z])\(?[A-J]\)?)[,;]?\s+(?:(?:and\s+)?not\s+\(?[A-J]\)?\.?|(?:because|since)\b.*)$|^(.*[A-J])[，,]?(?:因为.*|不是[A-J]。?)$",
    re.DOTALL,
)
"""A reason behind the choice, or the option that it is not."""
_NAMED_ZH = (
    r"(?:最终|正确|最后)?(?:答案|选项)(?:应该|应|就)?(?:是|为|选)?\s*[:：]?\s*(?:选项?)?\s*"
    r"|(?:应该|应当|应|故|所以|因此)?选择?\s*(?:选项)?\s*"
)
_LEADS = re.compile(rf"{_NAMED}|{_TAKEN}|{_BRIEF}|{_NAMED_ZH}", re.IGNORECASE)
_LETTER = r"\(?([A-J])\)?"
_JUDGED = re.compile(
    rf"(?:\bonly\s+)?(?:\b(?:option|choice|answer)\s+)?(?<![A-Za-z]){_LETTER}\s+(?:is|must\s+be)\s+(?:(?:clearly|therefore|thus)\s+)?"
    r"(?:the\s+)?(?:only\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice|one))?(?![A-Za-z])"
    rf"|(?:只有)?(?:选项)?(?<![A-Za-z]){_LETTER}\s*(?:才)?(?:是)?(?:正确|对)(?:的|答案|选项|的答案|的选项)?"
)
_HEDGED = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|likely|might|may|could|either|unsure|uncertain|guess(?:ing)?|alternatively"
    r"|not\s+(?:entirely\s+)?(?:sure|certain)|hard\s+to\s+say|don'?t\s+know|cannot\s+(?:tell|decide)|can'?t\s+(?:tell|decide)"
    r"|wait|actually)\b|也许|可能|大概|或者|或许|不确定|猜|要么|[?？]"
    r"|(?<![A-Za-z])\(?[A-J]\)?\s*(?:\b(?:or|and)\b|/|&|或|和|与)\s*\(?[A-J]\)?(?![A-Za-z])(?=[\s.。]*$)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(
    r"[.,;:!。，；：！\n]|\b(?:so|thus|hence|therefore|then|but|whence|which\s+means)\b|所以|因此|故|但|那么"
)
_OTHER_WRONG = re.compile(
    r"(?<![A-Za-z])\(?[A-J]\)?(?:\s*(?:,|and|or)\s*\(?[A-J]\)?)*\s+(?:is|are|looks?|seems?)\s+(?:wrong|incorrect|false)"
)
_WITHHELD = re.compile(
    r"\b(?:not|never|no|nor|neither|cannot|without|if|unless|whether|until|why|when|suppose|assume|assuming|wrong|incorrect"
    r"|false|doubt|deny|denies|mistake(?:n(?:ly)?)?|say|says|said|claims?|claimed|thought|believed|thinks|believes|except|rather|instead"
    r"|anyone|someone|some|they|he|she|students?|people|would)\b|n't\b|不|没|非|如果|假如|若|除非|认为错",
    re.IGNORECASE,
)
_CONDITION = re.compile(
    r"\b(?:if|unless|suppose|supposing|assume|assuming|provided)\b|如果|假如|假设|若|除非", re.IGNORECASE
)
"""Conditions what follows in the whole sentence."""


def concluded(text: str) -> str | None:
    """Return the end of `text` that names the option it settles on, or None if it settles on none.

    The result is what follows the settling words ("F", "(c) Boat", "Paris"), or the letter that a verdict names.
    """
    if _HEDGED.search(text):
        return None
    whole = text
    if reason := _REASON.match(text):
        if settles(text) - settles(reason[1] or reason[2]):
            return None
        text = reason[1] or reason[2]
    judged = [(m.start(), m.end(), m[1] or m[2]) for m in _JUDGED.finditer(text)]
    named = [m for m in _LEADS.finditer(text) if m.end() < len(text)]
    settled = settles(text)
    if len(settled) > 1:
        return None
    for start, end, letter in judged[-1:]:
        if not text[end:].strip(" .!。！*_") and not _withheld(text, start):
            return letter
    for match in named[-1:]:
        if _withheld(text, match.start()):
            return None
        rest_text = text[match.end() :].strip()
        return rest_text if settled in (set(), {rest_text.strip("(*_`$\"'")[:1]}) else None
    return text if text != whole and len(text) < 4 else None


def settles(text: str) -> set[str]:
    """Return every letter that some clause of the text settles on."""
    found = {m[1] or m[2] for m in _JUDGED.finditer(text) if not _withheld(text, m.start())}
    for match in _LEADS.finditer(text):
        rest = re.match(rf"[\s*_`$\"']*{_LETTER}(?![A-Za-z])", text[match.end() :])
        if rest and not _withheld(text, match.start()):
            found.add(rest[1])
    return found


def _withheld(text: str, start: int) -> bool:
    """Return True if the words of the clause in front of `start` take back, condition or attribute what follows."""
    cuts = [m.end() for m in _CLAUSE.finditer(text, 0, start)]
    before = text[cuts[-1] if cuts else 0 : start]
    sentence = re.split(r"[.!。！;；\n]", text[:start])[-1]
    return (
        _WITHHELD.search(_OTHER_WRONG.sub(" ", before)) is not None or _CONDITION.search(sentence) is not None
    )
