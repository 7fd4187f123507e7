"""Find the part of a completion that is the answer, in time linear in the length of the completion.

1. Reasoning never counts: only the text after the last `</think>` is searched, up to any later `<think>`.
2. In that text, the last complete `<answer>…</answer>` is the answer.
3. If there is none, the last complete `\\boxed{…}` (with balanced braces) is the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ANSWER_TAG = re.compile(r"</?answer>")
_BRACE_TOKEN = re.compile(r"\\boxed\s*\{|\\[\\{}]|[{}]")


@dataclass(frozen=True)
class Box:
    """One `\\boxed{body}`; `start` and `end` delimit the whole command in the text."""

    start: int
    end: int
    body: str


def after_reasoning(completion: str) -> str:
    """Return the reply: the text after the last `</think>`, cut where an unfinished `<think>` begins."""
    end = completion.rfind("</think>")
    reply = completion if end < 0 else completion[end + len("</think>") :]
    reopened = reply.find("<think>")
    return reply if reopened < 0 else reply[:reopened]


def last_answer_body(text: str) -> str | None:
    """Return the body of the last `<answer>` whose next answer tag is `</answer>`, or None if there is none."""
    body: str | None = None
    opened: int | None = None
    for tag in _ANSWER_TAG.finditer(text):
        if tag.group() == "<answer>":
            opened = tag.end()
        elif opened is not None:
            body, opened = text[opened : tag.start()], None
    return body


def boxes(text: str) -> list[Box]:
    """Return every complete outermost `\\boxed{…}` in order. Escaped braces (`\\{`) are ignored when matching."""
    if "\\boxed" not in text:
        return []
    found: list[Box] = []
    stack: list[tuple[bool, int, int]] = []  # (is a box, start of the command, start of its body)
    for token in _BRACE_TOKEN.finditer(text):
        piece = token.group()
        if piece.startswith("\\boxed"):
            stack.append((True, token.start(), token.end()))
        elif piece == "{":
            stack.append((False, token.start(), token.end()))
        elif piece == "}" and stack:
            is_box, start, body_start = stack.pop()
            if is_box:
                while found and found[-1].start > start:  # inner boxes belong to this one
                    found.pop()
                found.append(Box(start, token.end(), text[body_start : token.start()]))
    return found


def answer_text(completion: str) -> str | None:
    """Return the answer text that rewards judge, or None if the completion contains no answer.

    >>> answer_text("<think>\\\\boxed{1}</think><answer> 2 </answer>")
    ' 2 '
    """
    reply = after_reasoning(completion)
    body = last_answer_body(reply)
    if body is not None:
        return body
    found = boxes(reply)
    return found[-1].body if found else None


def reasoning_text(completion: str) -> str | None:
    """Return everything inside `<think>…</think>`, blocks joined by newlines; None if there is no think tag.

    A block that the length limit cut off extends to the end of the text. A `</think>` without an opening tag (because
    the template prefilled it) closes a block that starts at the beginning of the text.
    """
    parts: list[str] = []
    position = 0
    first_open, first_close = completion.find("<think>"), completion.find("</think>")
    if first_open < 0 and first_close < 0:
        return None
    if first_close >= 0 and (first_open < 0 or first_close < first_open):
        parts.append(completion[:first_close])
        position = first_close + len("</think>")
    while (start := completion.find("<think>", position)) >= 0:
        start += len("<think>")
        end = completion.find("</think>", start)
        if end < 0:
            parts.append(completion[start:])
            break
        parts.append(completion[start:end])
        position = end + len("</think>")
    return "\n".join(parts)
