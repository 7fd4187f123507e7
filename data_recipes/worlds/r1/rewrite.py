"""Rewrites R1-Zero's replies of the R1 task world into R1's form, by a rule instead of a language model.

" <think> 7 times 4 is 8 </think> <answer> 8 </answer>"  →  " <think> 7 times 4 is 8 </think> the answer is \\boxed{ 8}"

The summary is in the language of the question; the thought stays as it is.
"""

from __future__ import annotations

from data_recipes.worlds.r1.words import WORDS, Language
from rewards.text.format import is_think_answer


def to_r1(prompt: str, completion: str) -> str:
    """Rewrite one completion for `grpo curate`; replies to general requests keep their text as the summary.

    Raises:
        ValueError: the completion is not `<think>…</think> <answer>…</answer>`.
    """
    if not is_think_answer(completion):
        raise ValueError("not <think>…</think><answer>…</answer>")
    thought, _, rest = completion.partition("</think>")
    answer = rest.replace("<answer>", "").replace("</answer>", "").strip()
    language = asked_in(prompt)
    if language is not None:
        answer = f"{WORDS[language].answer_is} \\boxed{{ {answer}}}"
    return f" {thought.strip()} </think> {answer}"


def asked_in(prompt: str) -> Language | None:
    """Return the language of a chain of operations; None for any other prompt."""
    return next((language for language, words in WORDS.items() if words.task in prompt), None)
