"""Finds the program in a completion. Pure text work, linear in the length of the completion.

1. Reasoning never counts (`extract.after_reasoning`). Of the reply, the last complete `<answer>…</answer>` counts if
   there is one; without any `<answer>`, all of it; with one that never closes, nothing.
2. There, the last complete fenced block (``` or ~~~) whose tag names the language; if none is tagged so, the last one
   without a tag. Blocks tagged otherwise (```text, ```bash) are no programs of this language.
3. An `<answer>` without any fence is the program as it stands. A reply without tag and block holds no program.

A block that never closes is no block: the length limit cut it.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from rewards.text.extract import after_reasoning, last_answer_body

_TAGS = {
    "python": ("python", "py", "python3", "py3"),
    "c": ("c",),
    "cpp": ("cpp", "c++", "cc", "cxx"),
    "javascript": ("javascript", "js", "node", "nodejs"),
    "java": ("java",),
    "rust": ("rust", "rs"),
    "go": ("go", "golang"),
    "bash": ("bash", "sh", "shell"),
}
_STOPS = re.compile(r"\n(?=class\b|def\b|#|if\b|print\b)")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    tag: str
    """First word behind the opening fence, in lower case; "" if there is none."""
    body: str


def program_of(completion: str, language: str) -> str | None:
    """The program by the rule above, with line ends made plain; None if there is none."""
    reply = after_reasoning(completion.replace("\r\n", "\n").replace("\r", "\n"))
    answer = last_answer_body(reply)
    if answer is None and "<answer>" in reply:
        return None
    found = blocks(reply if answer is None else answer)
    tags = _TAGS.get(language, (language,))
    for wanted in (tags, ("",)):
        fitting = [block.body for block in found if block.tag in wanted]
        if fitting:
            return fitting[-1]
    if answer is None or found:
        return None
    return answer.strip("\n") if answer.strip() and not _has_fence(answer) else None


def continuation_of(completion: str) -> str:
    """What a base model wrote behind the code that it was given: up to the next statement at the margin.

    The stops are those of the Codex paper (2107.03374 §2.2): class, def, #, if, print at the start of a line.
    """
    text = completion.replace("\r\n", "\n").replace("\r", "\n")
    stop = _STOPS.search(text)
    return text if stop is None else text[: stop.start() + 1]


def blocks(text: str) -> list[Block]:
    """Complete fenced blocks in order, as CommonMark closes them; an opening fence may stand behind other text."""
    found: list[Block] = []
    fence, tag, indent, body = "", "", "", []  # type: tuple[str, str, str, list[str]]
    for line in text.split("\n"):
        if fence:
            closing = line.strip()
            if len(closing) >= len(fence) and not closing.strip(fence[0]):
                code = "\n".join(body)
                found.append(Block(tag, (textwrap.dedent(code) if indent else code) + "\n"))
                fence = ""
            else:
                body.append(line)
        elif opening := _opening(line):
            before, fence, words = opening
            if before.strip() and ("`" in before or len(words) > 1):
                fence = ""  # code inside a sentence
                continue
            tag, body = (words[0].lstrip(".").lower() if words else ""), []
            indent = "" if before.strip() else before
    return found


def _opening(line: str) -> tuple[str, str, list[str]] | None:
    """Return the text before the last fence of a line, the fence, and the words behind it."""
    end = max(line.rfind("`"), line.rfind("~")) + 1
    start = len(line[:end].rstrip(line[end - 1])) if end else 0
    if end - start < 3:
        return None
    return line[:start], line[start:end], line[end:].strip().strip("{}").split()


def _has_fence(text: str) -> bool:
    return any(line.lstrip().startswith(("```", "~~~")) for line in text.split("\n"))
