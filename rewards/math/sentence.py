"""Find the value in a sentence that answers the question: "Omar has 63 stamps." says 63, "乙最重" says 乙.

A sentence is only read beside its question, and only if it says what the question asks and nothing else:

- its words, apart from the value and a few that mean nothing by themselves, are words of the question's last sentence;
- it has exactly one number, and names stand in the order of the question, so that who did what to whom is the same;
- nothing in it denies, compares or hedges, unless the question does so in the same words.

For "who" and "which", and in Chinese, the sentence must be the question with the answer in the place of the question
word.
"""

from __future__ import annotations

import re

from rewards.math.question import asking_sentence
from rewards.math.units import parse_unit, singular

MAX_CHARS = 200
_NUMBER = re.compile(
    r"(?<![\w.])(?:US)?[$€£¥]?\s?-?(?:\\frac\{[0-9]+\}\{[0-9]+\}|[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?(?:/[0-9]+)?)\s?%?(?![\w/^.]*[0-9])"
)
_DIGIT = re.compile(r"[0-9]")
_NUMERALS = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand|million"
    r"|half|dozen|double|twice|third|quarter|both|no|none)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*|[^\sA-Za-z.,!]+")
_NEUTRAL = frozenset(
    """a an the is are was were be been has have had do does did will would can there and it its he she they his her
    their him them this that these those we you i my our your so then now total altogether overall therefore thus hence
    exactly in of to at on""".split()
)
"""Words that need not stand in the question."""
_TAKES_BACK = re.compile(
    r"\b(?:not|never|no|nor|n't|if|unless|than|more|less|fewer|least|most|about|around|almost|nearly|approximately|roughly"
    r"|maybe|perhaps|or|either|between|over|under|above|below|except|only|another|other|extra|still|wrong|only|up)\b|n't\b|[?:;=<>+*]",
    re.IGNORECASE,
)
_PASTS = """sell sold, buy bought, spend spent, give gave given, take took taken, eat ate eaten, make made,
    go went gone, get got, run ran, write wrote written, drive drove driven, pay paid, leave left, see saw seen,
    win won, lose lost, find found, build built, catch caught, grow grew grown, keep kept, bring brought, send sent,
    lend lent, sleep slept, swim swam, fly flew, drink drank, break broke broken, wear wore worn, read, put, cut"""
_NO_THINGS = _NEUTRAL | frozenset(
    "per each every for by with from left away after before during until".split()
)
_COMPARES = re.compile(r"\b(?:more|less|fewer|than)\b", re.IGNORECASE)
_IRREGULAR = {past: verb for verb, *pasts in map(str.split, _PASTS.split(",")) for past in pasts}
_WHO = re.compile(r"^(?:who|which(?:\s+[a-z]+){1,3}?|what)\s+(.+?)\s*\?$", re.IGNORECASE)
_ASKED_ZH = re.compile(r"谁|哪个人|哪一个|哪个|哪位|多少|几|什么")
_DENIAL_ZH = re.compile(r"[不没非未别无否]")


def value_in(sentence: str, prompt: str) -> str | None:
    """Return the value that `sentence` gives as the answer to `prompt`, with its unit; None if it gives none."""
    sentence = sentence.strip().rstrip(".。!！").strip()
    if not prompt.strip() or not 3 <= len(sentence) <= MAX_CHARS:
        return None
    question = asking_sentence(prompt).strip()
    if re.search(r"[\u4e00-\u9fff]", sentence):
        return _in_place_zh(sentence, question)
    return _number_in(sentence, question) or _in_place(sentence, question)


def _number_in(sentence: str, question: str) -> str | None:
    found = list(_NUMBER.finditer(sentence))
    if len(found) != 1 or len(sentence.split()) < 3:
        return None
    before, behind = sentence[: found[0].start()], sentence[found[0].end() :]
    unit = _unit_behind(behind)
    rest = f"{before} {behind.strip().removeprefix(unit)}"
    if (
        not _WORD.search(rest)
        or _DIGIT.search(rest)
        or _NUMERALS.search(rest)
        or not _says_only(rest, question)
    ):
        return None
    if (
        "than" in behind.lower().split()
        and behind.lower().partition("than")[2].strip() not in question.lower()
    ):
        return None
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", question)
    stated = [word for word in re.findall(r"[A-Z][a-z]+", rest) if word in names]
    if stated != [name for name in names if name in stated]:
        return None
    number = found[0].group().strip()
    return (
        number if number[0] in "$€£¥U" and not unit else f"{number} {unit or _counted_behind(behind)}".strip()
    )


def _says_only(rest: str, question: str) -> bool:
    """Return True if the words are the question's or say nothing, and compare as the question does."""
    asked = _stems(question)
    compared = {word.lower() for word in _COMPARES.findall(question)}
    if compared != {word.lower() for word in _COMPARES.findall(rest)}:
        return False
    for mark in _TAKES_BACK.findall(rest):
        if not mark[0].isalpha() or not re.search(
            rf"(?<!\w){re.escape(mark)}(?!\w)", question, re.IGNORECASE
        ):
            return False
    return all(_stem(word) in asked or word.lower() in _NEUTRAL for word in _WORD.findall(rest))


def _unit_behind(behind: str) -> str:
    """Return the unit right behind the number, as far as it goes: "miles per hour", "square meters"; "" if none."""
    words = behind.split()
    for size in range(min(4, len(words)), 0, -1):
        text = " ".join(words[:size])
        unit = parse_unit(text)
        if unit is not None and not unit.noun and text in behind:
            return text
    return ""


def _counted_behind(behind: str) -> str:
    """Return the counted thing right behind the number, without "more" and "of the"; "" if there is none."""
    words = re.sub(r"^\s*(?:more|fewer|less)\s+", "", behind).split()
    return (
        words[0] if words and words[0].isalpha() and words[0].islower() and words[0] not in _NO_THINGS else ""
    )


def _in_place(sentence: str, question: str) -> str | None:
    """Return who or what the sentence names, if it is the question with the answer for who, which … or what."""
    match = _WHO.match(re.split(r",\s+", question)[-1])
    if match is None or match[1].split()[0].lower() in ("the", "a", "an"):
        return None
    ending = match[1].lower()
    answer = sentence[: -len(ending)].strip() if sentence.lower().endswith(f" {ending}") else ""
    return answer if answer and len(answer.split()) <= 3 and not _TAKES_BACK.search(answer) else None


def _in_place_zh(sentence: str, question: str) -> str | None:
    """Return what stands in the sentence where the question has 谁, 几, 多少, …: both sides must be the question's."""
    clause = re.split(r"[，,。；;：:\s]", question.rstrip("？?"))[-1]
    asked = list(_ASKED_ZH.finditer(clause))
    if len(asked) != 1:
        return None
    head, tail = clause[: asked[0].start()], re.sub(r"[呢啊吗]$", "", clause[asked[0].end() :])
    if tail and asked[0].group() not in ("多少", "几") and sentence.startswith(f"{tail}的是"):
        sentence = sentence.removeprefix(f"{tail}的是") + tail  # 最重的是乙
    if not tail or not sentence.endswith(tail):
        return None
    rest = sentence.removesuffix(tail)
    if asked[0].group() in ("多少", "几"):
        number = re.search(r"(?:[0-9][0-9.,]*|[零一二两三四五六七八九十百千万]+)$", rest)
        if number is None or not number.start() or not _is_left_out(rest[: number.start()], head):
            return None
        return number.group() + tail[:1]
    answer = rest.removeprefix(head)
    return answer if answer and len(answer) <= 8 and not _DENIAL_ZH.search(answer) else None


def _is_left_out(part: str, whole: str) -> bool:
    """Return True if `part` is `whole` with some characters left out, none of them a denial."""
    left = list(whole)
    for char in part:
        while left and left[0] != char:
            if _DENIAL_ZH.match(left.pop(0)):
                return False
        if not left:
            return False
        left.pop(0)
    return not any(map(_DENIAL_ZH.match, left))


def _stems(text: str) -> set[str]:
    return {_stem(word) for word in _WORD.findall(text)}


def _stem(word: str) -> str:
    word = word.lower().removesuffix("'s")
    word = _IRREGULAR.get(word, word)
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word.removesuffix(ending)
            return (
                word[:-1]
                if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls"
                else word.rstrip("e")
            )
    return singular(word).rstrip("e")
