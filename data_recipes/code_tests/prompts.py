"""Asks a language model for programs that write test inputs (R1 2501.12948 v2, listing 2, in our own words)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from policies.json_types import JsonMapping
from rewards.code.program import blocks
from rewards.llm.client import Llm
from rewards.llm.errors import LlmError, LlmRefused
from rewards.llm.types import Answer, Message, Request
from rewards.text.extract import after_reasoning

RULES = """\
You write generators of test inputs for a programming problem. Each generator is a complete Python program that reads \
nothing and prints exactly one valid input, {form}, and nothing else. It uses the standard library alone and takes \
randomness from the module random, so that another seed gives another input.

Write several generators, so that a program which is wrong or too slow fails one of them:
- small random inputs, and the smallest that the problem allows;
- random inputs of the largest size, with values over their whole range;
- if there are several sequences or cases: of equal lengths, of very different lengths, and a single big one;
- inputs made against likely mistakes: all values equal, few values that repeat or alternate, sorted either way, ties, \
values at their limits.
Keep every limit that the problem states. Put each generator into a block of its own that begins with ```python. \
Before each block, say in a sentence what it is after."""
TAGS = ("python", "py", "python3", "py3")
STDIN = "just as the problem's program reads it from stdin"
CALL = "the list of the arguments that the function is called with, as one line of JSON"
_QUESTION = """\
## Problem
Given n (1 ≤ n ≤ 100000) and n integers a_i (−10^9 ≤ a_i ≤ 10^9), print how many different values there are.
Input: n in the first line, the a_i in the second."""
_SMALL = """\
Small random inputs, in which values come twice:
```python
import random
n = random.randint(1, 8)
print(n)
print(*(random.randint(-3, 3) for _ in range(n)))
```"""
_LARGE = """\
The largest size with the whole range of values, against slow programs:
```python
import random
n = 100000
print(n)
print(*(random.randint(-10**9, 10**9) for _ in range(n)))
```"""
_LIMITS = """\
Two values at the limits that alternate, against overflow and wrong deduplication of neighbours:
```python
n = 99999
print(n)
print(*(-10**9 if i % 2 else 10**9 for i in range(n)))
```"""


def generators_request(question: str, entry_point: str = "", seed: int = 0) -> Request:
    """Return the request for generators of a problem's inputs.

    Args:
        question: the problem.
        entry_point: the function that the tests call; "" if the program reads stdin.
        seed: of the model's sample.
    """
    rules = RULES.format(form=CALL if entry_point else STDIN)
    asked = f"## Problem\n{question.strip()}"
    if entry_point:  # the example reads stdin, and would mislead
        return Request.of(f"{asked}\n\nThe function is `{entry_point}`.", rules, seed)
    shot = (
        Message("user", _QUESTION),
        Message("assistant", "\n\n".join((_SMALL, _LARGE, _LIMITS))),
    )
    return Request((Message("system", rules), *shot, Message("user", asked)), seed)


def programs_in(answer: str) -> list[str]:
    """Return the Python programs of a model's answer, in order, each once."""
    found = [block.body for block in blocks(after_reasoning(answer)) if block.tag in TAGS]
    return list(dict.fromkeys(program for program in found if program.strip()))


def model_writers(llm: Llm, answers: int, seed: int) -> Callable[[Sequence[JsonMapping]], list[list[str]]]:
    """Return a function from rows to the generators that a model writes for each; a prompt it refuses gives none.

    Args:
        llm: the model.
        answers: samples of a problem, each with several generators.
        seed: of the first sample.
    """

    def write(rows: Sequence[JsonMapping]) -> list[list[str]]:
        requests = [
            request
            for row in rows
            for request in generators_request(
                str(row.get("question") or row.get("prompt") or ""), str(row.get("entry_point") or ""), seed
            ).votes(answers)
        ]
        texts = []
        for answer in llm.ask_all(requests):
            if isinstance(answer, LlmError) and not isinstance(answer, LlmRefused):
                raise answer
            texts.append(answer.text if isinstance(answer, Answer) else "")
        return [
            list(dict.fromkeys(program for text in texts[at : at + answers] for program in programs_in(text)))
            for at in range(0, len(texts), answers)
        ]

    return write
