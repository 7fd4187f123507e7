r"""Reads the verdict at the end of a judge's answer. Strict: no verdict is guessed.

    read_word('… {"analysis": "2 \cdot 2 = 4", "correctness": "correct"}', "correctness", ("correct", "incorrect"))
    read_number('{"analysis": "…", "score": 7}', "score", 1, 10)
    read_preference("… My verdict: [[A>>B]]")           2.0 for the first reply, -2.0 for the second

A judge's own thought (`<think>…</think>`) is no verdict. Several verdicts that differ are none. LaTeX in a JSON text
makes escapes that JSON does not have (`\c`); these alone are repaired.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from policies.json_types import JsonDict
from rewards.text.extract import after_reasoning

LABELS = {"A>>B": 2.0, "A>B": 1.0, "A=B": 0.0, "B>A": -1.0, "B>>A": -2.0}
"""Arena-Hard's labels, which R1 uses too (v2, B.2), and how much better the first reply is."""
READ_CHARS = 20_000
"""Characters of an answer that are searched, from its end."""
_MOST_OBJECTS = 200
_LABEL = re.compile(r"\[\[\s*(A>>B|A>B|A=B|B>A|B>>A)\s*\]\]")
_SIGNS = str.maketrans({"≫": ">>", "》": ">>", "＞": ">", "＝": "=", "＜": "<"})
_BAD_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)')
_TAG = re.compile(r"<(/?think>)")
VerdictT = TypeVar("VerdictT", str, float)
_DECODER = json.JSONDecoder(strict=False)


class Unreadable(ValueError):
    """An answer has no verdict that can be read; the message says why and quotes its end."""


def read_word(text: str, key: str, words: Sequence[str]) -> str:
    """Return the verdict, one of `words`, from the JSON objects that have the key.

    Raises:
        Unreadable: there is none, it is another word, or they differ.
    """
    verdicts = set()
    for value in _values(text, key):
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in words:
            raise Unreadable(f'"{key}" is {value!r}, not one of {", ".join(words)}')
        verdicts.add(word)
    return _only(verdicts, f'no JSON object with "{key}"', text)


def read_number(text: str, key: str, low: float, high: float) -> float:
    """Return the verdict, a number from `low` to `high`, from the JSON objects that have the key.

    Raises:
        Unreadable: there is none, it is outside, or they differ.
    """
    verdicts = set()
    for value in _values(text, key):
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise Unreadable(f'"{key}" is {value!r}, not a number from {low:g} to {high:g}')
        verdicts.add(float(value))
    return _only(verdicts, f'no JSON object with "{key}"', text)


def read_preference(text: str) -> float:
    """Return how much better the first reply is, from -2 to 2, by the label in double brackets.

    Raises:
        Unreadable: there is no label, or several that differ.
    """
    verdicts = {LABELS[label] for label in _LABEL.findall(_said(text).translate(_SIGNS))}
    return _only(verdicts, "no label such as [[A>B]]", text)


def _only(verdicts: set[VerdictT], missing: str, text: str) -> VerdictT:
    if len(verdicts) == 1:
        return verdicts.pop()
    differ = f"verdicts that differ: {', '.join(sorted(map(str, verdicts)))}"
    raise Unreadable(f"{differ if verdicts else missing} in {text[-120:]!r}")


def _said(text: str) -> str:
    return after_reasoning(text)[-READ_CHARS:]


def _values(text: str, key: str) -> list[object]:
    """Return the values of a key in the outermost JSON objects of a judge's answer.

    Raises:
        Unreadable: the key stands outside of them too: in an object that is broken, whose parts could be what the judge
            quotes and not what it says.
    """
    repaired = _BAD_ESCAPE.sub(lambda match: match[0] if match[1] else "\\\\", text)
    said = _said(_hide_quoted_tags(repaired))
    values, outside, end = [], [], 0
    for start, stop, found in _objects(said):
        outside.append(said[end:start])
        end = stop
        if key in found:
            values.append(found[key])
    outside.append(said[end:])
    if re.search(rf'"{re.escape(key)}"\s*:', " ".join(outside)):
        raise Unreadable(f'the JSON object with "{key}" is broken in {text[-120:]!r}')
    return values


def _hide_quoted_tags(text: str) -> str:
    """Return a text whose `<think>` and `</think>` inside of JSON objects, where a judge quotes them, are no tags."""
    head, tail = text[:-READ_CHARS], text[-READ_CHARS:]
    parts, end = [head], 0
    for start, stop, _ in _objects(tail):
        parts += [tail[end:start], _TAG.sub(r"(\1", tail[start:stop])]
        end = stop
    return "".join([*parts, tail[end:]])


def _objects(text: str) -> Iterator[tuple[int, int, JsonDict]]:
    """Yield begin, end and content of the outermost JSON objects of a text."""
    at = text.find("{")
    for _ in range(_MOST_OBJECTS):
        if at < 0:
            return
        end = at + 1
        try:
            found, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            pass
        else:
            yield at, end, found
        at = text.find("{", end)
