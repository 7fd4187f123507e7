"""The requests that rewrite a raw trace: its thought, then a summary of the thought (R1 v2, listings 1, 3).

The words are this project's; the rules are the paper's: the language of the question, first person, nothing new, a
boxed answer, no talk about the task. Examples, which people wrote or checked, come as earlier turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewards.llm.types import Message, Request

THOUGHT_RULES = """\
You edit the raw notes of somebody who worked on a question, so that others enjoy reading them.

Rules:
1. Write in the first person ("I"), as somebody who thinks aloud: first make clear what is asked, then reason step by \
step, and look back at what was done.
2. Write in the language of the question. Translate notes that are in another one.
3. Stay faithful. Keep every step and its order, also wrong turns and how they were noticed; add no step, no fact and \
no result that the notes do not have.
4. Leave out what only repeats, scraps of markup and remarks about these rules.
5. Write formulas in LaTeX.
6. Let length follow the notes: a trivial question needs a sentence or two.
Begin at once with the thought, and write nothing but the thought."""

SUMMARY_RULES = """\
You write the answer that a reader gets, from a question and the thought that led to it.

Rules:
1. Write in the language of the question.
2. Stay faithful to the thought: its result and its way there, no reasoning of your own, also where you disagree.
3. Show the steps that matter, with formulas in LaTeX; be brief.
4. If the question has a final answer, end with it in \\boxed{}. If it asks for a program, end with the whole program \
in one block of code, unchanged.
5. Do not speak of the thought, of yourself or of these rules.
Begin at once with the answer, and write nothing but the answer."""


@dataclass(frozen=True)
class Shot:
    """An example of a rewritten trace."""

    question: str
    raw: str
    """The thought as it was."""
    thought: str
    """The thought as it should be."""
    summary: str


SHOTS = (
    Shot(
        question="What is 5 plus 4?",
        raw="5+4 hmm so 5 and 4. 5+4=9. yes 9 .the answer 9 <|end|> 9",
        thought="I need to add 5 and 4. Counting four on from 5, I get 9.",
        summary="Adding the two numbers gives\n\n$$5 + 4 = 9$$\n\nso the answer is \\boxed{9}.",
    ),
    Shot(
        question="一个长方形长 6 厘米，宽比长少 2 厘米，面积是多少平方厘米？",
        raw="length 6. width 6-2=4. area perimeter? 2*(6+4)=20 no wait area asked. 6*4=24. 答案 24",
        thought=(
            "题目问的是长方形的面积。长是 6 厘米，宽比长少 2 厘米，所以我算出宽是 $6 - 2 = 4$ 厘米。我先算了"
            " $2 \\times (6 + 4) = 20$，但这是周长，题目要的是面积。所以面积应该是 $6 \\times 4 = 24$。"
        ),
        summary="宽为 $6 - 2 = 4$ 厘米，面积为 $6 \\times 4 = 24$ 平方厘米，所以答案是 \\boxed{24}。",
    ),
)
"""Examples to begin with. A project replaces them by its own: what people wrote sets the style of the cold start."""


def thought_request(question: str, raw: str, shots: Sequence[Shot] = SHOTS, seed: int = 0) -> Request:
    """Return the request to rewrite a raw thought."""
    turns = [(_thought_turn(s.question, s.raw), s.thought) for s in shots]
    return _conversation(THOUGHT_RULES, turns, _thought_turn(question, raw), seed)


def summary_request(question: str, thought: str, shots: Sequence[Shot] = SHOTS, seed: int = 0) -> Request:
    """Return the request to summarise a thought for the reader."""
    turns = [(_summary_turn(s.question, s.thought), s.summary) for s in shots]
    return _conversation(SUMMARY_RULES, turns, _summary_turn(question, thought), seed)


def _thought_turn(question: str, raw: str) -> str:
    return f"## Question\n{question.strip()}\n\n## Notes\n{raw.strip()}"


def _summary_turn(question: str, thought: str) -> str:
    return f"## Question\n{question.strip()}\n\n## Thought\n{thought.strip()}"


def _conversation(rules: str, turns: Sequence[tuple[str, str]], last: str, seed: int) -> Request:
    messages = [Message("system", rules)]
    for user, assistant in turns:
        messages += [Message("user", user), Message("assistant", assistant)]
    return Request((*messages, Message("user", last)), seed)
