"""Reward `language_consistency`: fraction of target-language words in the chain of thought (R1, Nature eq. 7).

    R_language = Num(words in the target language) / Num(words)

Words are split and classified by script. A run of Latin letters is one English word; each Han character is one
Chinese word; each kana, and each run of letters of any other script (Hangul, Cyrillic, …), is one word of neither
language. Mixed text is therefore scored in proportion: "我们 compute 这个" is 4/5 Chinese and 1/5 English. A string
of mixed scripts is split where the script changes.

Numbers, LaTeX, code, single Latin or Greek letters (variables) and URLs are not counted. Reasoning that is missing
or contains no words scores 0, so that a model gains nothing by leaving it out.

Languages that share a script are not told apart: French counts as English, and Han characters in Japanese text
count as Chinese.
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
    """Return the fraction of target-language words, 0 to 1.

    Abstain unless the column `language` is en or zh, with or without a region (en-US, zh_CN).
    """
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
    """Count the words of `text` by language, under the keys en, zh and other."""
    counts = {"en": 0, "zh": 0, "other": 0}
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)  # so that é is one letter, precomposed or not
    for match in _WORD.finditer(_prose(text)):
        kind, word = match.lastgroup or "other", match.group()
        if len(word) == 1 and (kind == "en" or _GREEK.match(word)):
            continue
        counts[kind if kind in counts else "other"] += 1
    return counts


def _prose(text: str) -> str:
    """Remove code, LaTeX and URLs from `text`. Every step takes time linear in its length."""
    for opening, closing in _FENCES[:1]:
        text = _without(text, opening, closing)
    text = _without_environments(text)
    for opening, closing in _FENCES[1:]:
        text = _without(text, opening, closing, within_line=opening in "`$")
    text = _URL.sub(" ", text)
    return _without_commands(text)


def _without(text: str, opening: str, closing: str, within_line: bool = False) -> str:
    """Remove every `opening … closing`. An unclosed opening delimiter stays in the text (`$5` is money)."""
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
    absent: set[str] = set()  # closings known not to occur again, to avoid a search per opening
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
    """Remove bare LaTeX commands and their arguments, such as `\\frac{a}{b}` outside `$…$`."""
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
