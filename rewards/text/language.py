"""Reward `language_consistency`: share of target-language words in the chain of thought (R1, Nature eq. 7).

    R_language = Num(words in the target language) / Num(words)

The script decides what a word is: a run of Latin letters is one word and counts as English; each Han character
is one word and counts as Chinese; a run of another script's letters (kana, Hangul, Cyrillic, …) is one word of
neither, but for kana, one each. So mixed text gets its mixture: "我们 compute 这个" is 4/5 Chinese and 1/5 English.
Left out: numbers, LaTeX, code, single Latin or Greek letters (variables), and URLs. Reasoning without any word,
or no reasoning at all, is 0: silence is no consistency. Words glued across scripts are parted where the script
changes. Latin script is not distinguished further (French passes as English), nor are the Han characters of
Japanese.
"""

from __future__ import annotations

import re
import unicodedata

from rewards.rows import RewardRow
from rewards.text.extract import reasoning_text
from rewards.types import Score
from rewards.values import failed

_FENCES = (("```", "```"), ("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("`", "`"), ("$", "$"))
_ENVIRONMENT_OPEN = re.compile(r"\\begin\s?\{([A-Za-z]{1,20}\*?)\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_COMMAND_ARGUMENTS = re.compile(r"\s?(?:\{[^{}]*\}|\[[^\[\]]*\])")
_URL = re.compile(r"(?:https?://|www\.)\S+")
_HAN = r"\u2e80-\u2fdf\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = r"\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff3a\uff41-\uff5a"
_GREEK = re.compile(r"[\u0370-\u03ff]")
_WORD = re.compile(
    rf"(?P<zh>[{_HAN}])|(?P<kana>[{_KANA}])|(?P<en>[{_LATIN}]+(?:['’][{_LATIN}]+)*)"
    rf"|(?P<other>[^\W\d_{_HAN}{_KANA}{_LATIN}]+)"
)


def language_consistency(row: RewardRow) -> Score:
    """Share in 0 … 1. Abstains unless the column `language` is en or zh (also en-US, zh-CN, …)."""
    language = row.columns.get("language")
    if language is None or language == "":
        return failed("abstain", "no column 'language'")
    target = str(language).lower().replace("_", "-").split("-")[0]
    if target not in ("en", "zh"):
        return failed("abstain", f"language {language!r} is not en or zh")
    reasoning = reasoning_text(row.completion)
    if reasoning is None:
        return Score(0.0, reason="no reasoning")
    counts = word_counts(reasoning)
    total = sum(counts.values())
    if total == 0:
        return Score(0.0, reason="no words in the reasoning")
    return Score(counts[target] / total)


def word_counts(text: str) -> dict[str, int]:
    """Words by language: keys en, zh, other."""
    counts = {"en": 0, "zh": 0, "other": 0}
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)  # é as one letter, however it was written
    for match in _WORD.finditer(_prose(text)):
        kind, word = match.lastgroup or "other", match.group()
        if len(word) == 1 and (kind == "en" or _GREEK.match(word)):
            continue
        counts[kind if kind in counts else "other"] += 1
    return counts


def _prose(text: str) -> str:
    """`text` without code, LaTeX and URLs. Every step is linear in the length."""
    for opening, closing in _FENCES[:1]:
        text = _without(text, opening, closing)
    text = _without_environments(text)
    for opening, closing in _FENCES[1:]:
        text = _without(text, opening, closing, within_line=opening in "`$")
    text = _URL.sub(" ", text)
    return _without_commands(text)


def _without(text: str, opening: str, closing: str, within_line: bool = False) -> str:
    """Cut out every `opening … closing`; an opening without its closing stays (`$5` is money)."""
    if opening not in text:
        return text
    if within_line:
        return "\n".join(_without(line, opening, closing) for line in text.split("\n"))
    kept: list[str] = []
    at = 0
    while (start := text.find(opening, at)) >= 0:
        end = text.find(closing, start + len(opening))
        if end < 0:
            break
        kept += [text[at:start], " "]
        at = end + len(closing)
    kept.append(text[at:])
    return "".join(kept)


def _without_environments(text: str) -> str:
    kept: list[str] = []
    at = 0
    absent: set[str] = set()  # closings that do not occur again: searched once, not once per opening
    for match in _ENVIRONMENT_OPEN.finditer(text):
        closing = f"\\end{{{match.group(1)}}}"
        if match.start() < at or closing in absent:
            continue
        end = text.find(closing, match.end())
        if end < 0:
            absent.add(closing)
            continue
        kept += [text[at : match.start()], " "]
        at = end + len(closing)
    kept.append(text[at:])
    return "".join(kept)


def _without_commands(text: str) -> str:
    """Cut out bare commands with their arguments, `\\frac{a}{b}` outside of `$…$`."""
    if "\\" not in text:
        return text
    kept: list[str] = []
    at = 0
    while match := _COMMAND.search(text, at):
        kept.append(text[at : match.start()] + " ")
        at = match.end()
        while arguments := _COMMAND_ARGUMENTS.match(text, at):
            at = arguments.end()
    kept.append(text[at:])
    return "".join(kept)
