"""Find the answer that a completion commits to. A hedged or negated answer, or several different boxes, is no answer.

Text next to a `\\boxed{…}` is part of the answer if it changes the value: −\\boxed{4}, \\boxed{4}\\%.

Prose next to it is not: "so there are \\boxed{4} ways to do it" gives 4.
"""

from __future__ import annotations

import re

from rewards.math.parse import MAX_CHARS, parse
from rewards.math.text import clean, squeezed
from rewards.math.values import Group, Matrix, Quantity, Value, Words
from rewards.text.extract import Box, after_reasoning, boxes, last_answer_body

_REACH = 60
_HEAD_END = re.compile(
    r"[.,;:!?，。；：！？、]\s|\n\s*\n|\n(?=\s*\\boxed)|[，。；：！？、]|=>?|[→⇒]|\\\["
    r"|\$\$|\\(?:Rightarrow|rightarrow|to|implies|therefore)(?![A-Za-z])"
)
_TAIL_END = re.compile(r"[.,;:!?](?!\d)|[，。；：！？、\n]|\\\]|\$\$")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|[\u4e00-\u9fff]")
_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}")
_MAGNITUDES = frozenset("hundred thousand million billion trillion percent".split())
_INEXACT = re.compile(
    r"\b(?:at\s+(?:least|most)|(?:less|more|fewer|greater|larger|smaller|bigger|higher|lower|other)\s+than"
    r"|about|around|approximately|roughly|nearly|almost|under|over|above|below|up\s+to|between|except|anything\s+but)"
    r"[\s$(\\\[]*$|(?:大于|小于|至少|至多|约|大约|超过|不足|不到)[\s$]*$",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(?:(?:\bnot|\bcannot|n't|\bnever|\bisn)(?:\s+(?:be|equal(?:\s+to)?|simply|just))?|\brather\s+than|\binstead\s+of"
    r"|≠|!=|\\ne(?:q|g)?(?![a-z])|不是|不等于|不可能是|并非|而非)\s*[\s$:=(]*$",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"[\s$)\]\\,:(：，]*(?:(?:is|was|would\s+be|seems|looks)\s+(?:not|wrong|incorrect|false|invalid)\b"
    r"|(?:which\s+is\s+)?(?:wrong|incorrect|false)\b|错|不对|不正确)",
    re.IGNORECASE,
)
"""Matched against the text right after a box."""
_UNSURE = re.compile(
    r"\b(?:or|not|isn't|wrong|incorrect|maybe|either|perhaps|possibly|alternatively|could|might|unsure|versus|vs)\b"
    r"|不是|或|可能|也许|错",
    re.IGNORECASE,
)
_JOINS_BOXES = re.compile(
    r"[\s$,;/|&、，。.:()\[\]*-]*(?:\b(?:or|and|either|maybe)\b|或者|或|和)?[\s$,;/|&、，。.:()\[\]*-]*",
    re.IGNORECASE,
)
_MAX_BOXES = 3


def committed_answer(completion: str) -> tuple[str | None, str]:
    """Return the one answer that the completion commits to and "", or None and the reason that there is none.

    `rewards.text.extract` defines which part of the completion is searched.
    """
    reply = after_reasoning(completion)
    body = last_answer_body(reply)
    if body is None:
        found = boxes(reply)
        if not found:
            return None, "no answer found"
        return _committed_box(reply, found)
    if len(body) > MAX_CHARS:
        return None, f"answer is longer than {MAX_CHARS} characters"
    found = boxes(body)
    if not found:
        return body, ""
    if len({squeezed(clean(box.body)) for box in found}) > 1:
        return None, "several different boxes"
    outside = _outside(body, found)
    before, behind = body[: found[-1].start], body[found[-1].end :]
    if _UNSURE.search(outside) or _NEGATED.search(before) or _DENIED.match(behind[:40]):
        return None, "the answer is hedged or negated"
    if isinstance(parse(clean(outside.strip(" $=:.,%"))), Quantity) and not outside.rstrip(" $").endswith(
        "="
    ):
        return None, "another number beside the box"
    return in_context(body, found[-1]), ""


def _committed_box(reply: str, found: list[Box]) -> tuple[str | None, str]:
    """Return the last box of a reply without `<answer>`, unless the reply offers several different answers."""
    last = found[-1]
    if len(last.body) > MAX_CHARS:
        return None, f"answer is longer than {MAX_CHARS} characters"
    if is_denied(reply, last):
        return None, "the answer is negated"
    recent = found[-64:]
    spelled = [squeezed(clean(box.body[:MAX_CHARS])) for box in recent]
    if len(set(spelled)) > _MAX_BOXES:
        return None, "several different boxes"
    for before, after, left, right in zip(recent, recent[1:], spelled, spelled[1:], strict=False):
        between = reply[before.end : after.start]
        if (
            left != right
            and after is last
            and (_JOINS_BOXES.fullmatch(between[:200]) or _offers_both(between))
        ):
            return None, "several different boxes"
    return in_context(reply, last), ""


def _offers_both(between: str) -> bool:
    return (
        len(between) < 80
        and re.search(r"\b(?:or|either|maybe|alternatively|possibly)\b|或", between) is not None
    )


def _outside(body: str, found: list[Box]) -> str:
    kept, at = [], 0
    for box in found:
        kept.append(body[at : box.start])
        at = box.end
    return " ".join([*kept, body[at:]])


def is_denied(text: str, box: Box) -> bool:
    """Return True if the words right before or after the box say that it is not the answer."""
    before, behind = text[max(0, box.start - 40) : box.start], text[box.end : box.end + 40]
    return _NEGATED.search(before) is not None or _DENIED.match(behind) is not None


def in_context(text: str, box: Box) -> str:
    """Return the body of `box`, extended by the neighbouring text if the two together form a value."""
    head, tail = text[max(0, box.start - _REACH) : box.start], text[box.end : box.end + _REACH]
    head, tail = (_TEXT.sub(r" \1 ", part.replace("**", "").replace("__", "")) for part in (head, tail))
    if re.match(r"[\s$)]*[?？]", tail):
        return f"{box.body}?"
    if match := _INEXACT.search(head):
        return f"{match.group().strip(' $')} {box.body}"
    head = _after_last(_HEAD_END, head)
    head = re.sub(r"^\s*\(?[A-Za-z0-9]{1,2}\)\s+", "", _after_last(_WORD, head))  # labels: (a), 1)
    end = _TAIL_END.search(tail)
    tail = tail[: end.start()] if end else tail
    head, tail = (re.sub(r"\\[()\[\]]|[$*_]{1,2}(?=\s*$)|\$", " ", part).strip() for part in (head, tail))
    if tail.startswith("="):  # the box is one side of a chain; whether the chain is true is not checked here
        tail = ""
    if not head and not tail:
        return box.body
    wordy = _has_words(parse(clean(box.body)))
    first = tail.split(maxsplit=1)[0] if tail else ""
    if first.isalpha() and first.lower() not in _MAGNITUDES:  # "\\boxed{5} in total" is not 5 inches
        first = ""
    for left, right in dict.fromkeys([(head, tail), (head, first), (head, ""), ("", tail), ("", first)]):
        whole = f"{left} {box.body} {right}".strip()
        value = parse(clean(whole))
        if (left or right) and not wordy and not _has_words(value) and _is_balanced(whole):
            return whole
    return box.body


def _is_balanced(text: str) -> bool:
    return sum(map(text.count, "([{")) == sum(map(text.count, ")]}"))


def _has_words(value: Value) -> bool:
    """Return True if part of the value was not understood or counts things, so that it is prose next to the box."""
    if isinstance(value, Words) or (
        isinstance(value, Quantity) and value.unit is not None and value.unit.noun
    ):
        return True
    if isinstance(value, Matrix):
        return any(_has_words(cell) for row in value.rows for cell in row)
    parts = value.items if isinstance(value, Group) else getattr(value, "parts", ())
    return any(map(_has_words, parts))


def _after_last(pattern: re.Pattern[str], text: str) -> str:
    end = 0
    for match in pattern.finditer(text):
        end = match.end()
    return text[end:]
