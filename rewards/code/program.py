"""Extracts the program from a completion. Pure text work, linear in the length of the completion.

1. Reasoning never counts (`extract.after_reasoning`). In the reply, the last complete `<answer>…</answer>` counts if
   there is one; without any `<answer>`, the whole reply; with only an unclosed one, nothing.
2. In that text, complete fenced blocks (``` or ~~~) count if they are tagged with the language or untagged; blocks with
   other tags (```text, ```bash) are not programs of this language. Where the tests call a function by name, the last
   block that defines it is the program: what stands behind it is an example of its use. If no block defines it, or the
   tests run the whole program, the last tagged block counts; if there is none, the last untagged one.
3. An `<answer>` without any fence is itself the program. A reply with neither tag nor block holds no program.

A block that never closes does not count: the length limit cut it.
"""

from __future__ import annotations

import ast
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
    """A fenced code block."""

    tag: str
    """First word after the opening fence, in lower case; "" if there is none."""
    body: str


def program_of(completion: str, language: str, entry_point: str = "") -> str | None:
    """Return the program by the rule above, with normalised line endings; None if there is none.

    Args:
        completion: the completion, reasoning included.
        language: the program's language; only its blocks count.
        entry_point: the function or class that the tests call; "" if they run the whole program.
    """
    reply = after_reasoning(completion.replace("\r\n", "\n").replace("\r", "\n"))
    answer = last_answer_body(reply)
    if answer is None and "<answer>" in reply:
        return None
    found = blocks(reply if answer is None else answer)
    tags = _TAGS.get(language, (language,))
    if entry_point:
        defining = [b.body for b in found if b.tag in (*tags, "") and defines(b.body, entry_point)]
        if defining:
            return defining[-1]
    for wanted in (tags, ("",)):
        fitting = [block.body for block in found if block.tag in wanted]
        if fitting:
            return fitting[-1]
    if answer is None or found:
        return None
    return answer.strip("\n") if answer.strip() and not _has_fence(answer) else None


def defines(source: str, name: str) -> bool:
    """Return True if Python code binds `name` at its top level, or defines it as a method of a class `Solution`.

    Code that does not parse defines what a line with `def name` or `class name` says: a broken rewrite is a rewrite.
    """
    try:
        tree = ast.parse(source)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return (
            re.search(rf"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{re.escape(name)}\b", source, re.M)
            is not None
        )
    return any(_binds(node, name) for node in tree.body)


def _binds(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.ClassDef) and node.name == "Solution":
        return name == "Solution" or any(_binds(inner, name) for inner in node.body)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    if isinstance(node, ast.If | ast.Try):
        return any(_binds(inner, name) for inner in node.body)
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    read = {inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}
    # `total = Solution().total` gives a name to a method that another block defines.
    return "Solution" not in read and any(isinstance(t, ast.Name) and t.id == name for t in targets)


def continuation_of(completion: str) -> str:
    """Return the code that a base model wrote after the code that it was given, up to the next unindented statement.

    The stop strings are those of the Codex paper (2107.03374 §2.2): class, def, #, if, print at the start of a line.
    """
    text = completion.replace("\r\n", "\n").replace("\r", "\n")
    stop = _STOPS.search(text)
    return text if stop is None else text[: stop.start() + 1]


def blocks(text: str) -> list[Block]:
    """Return complete fenced blocks in order, closed as in CommonMark; an opening fence may follow other text on its
    line."""
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
                fence = ""  # inline code within a sentence
                continue
            tag, body = (words[0].lstrip(".").lower() if words else ""), []
            indent = "" if before.strip() else before
    return found


def _opening(line: str) -> tuple[str, str, list[str]] | None:
    """Return the text before the last fence of a line, the fence, and the words after it."""
    end = max(line.rfind("`"), line.rfind("~")) + 1
    start = len(line[:end].rstrip(line[end - 1])) if end else 0
    if end - start < 3:
        return None
    return line[:start], line[start:end], line[end:].strip().strip("{}").split()


def _has_fence(text: str) -> bool:
    return any(line.lstrip().startswith(("```", "~~~")) for line in text.split("\n"))
