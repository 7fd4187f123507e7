"""The judge `pairwise` of `grpo pairs`: which of two replies is better, on Arena-Hard's scale (R1 2501.12948 v2, B.2).

judge = { name = "pairwise", compares = true, llm = { url = "…", model = "…", cache = "…" } }
"""

from __future__ import annotations

from policies.json_types import JsonMapping
from rewards.judges.prompts import comparison
from rewards.judges.verdicts import Unreadable, read_preference
from rewards.llm.client import Llm
from rewards.llm.errors import LlmRefused
from rewards.text.extract import after_reasoning


class Pairwise:
    """Compares what the reader sees of two replies; the thoughts do not count. Any thread may call it."""

    def __init__(self, llm: Llm) -> None:
        self._llm = llm

    def __call__(self, prompt: str, first: str, second: str, seed: int, columns: JsonMapping) -> float:
        """Return how much better the first reply is, from -2 to 2.

        Raises:
            Unreadable: the verdict cannot be read, or the server refuses this pair.
            LlmError: no answer.
        """
        question = columns.get("question")
        request = comparison(
            question if isinstance(question, str) and question.strip() else prompt,
            after_reasoning(first),
            after_reasoning(second),
            seed,
        )
        try:
            answer = self._llm.ask(request)
        except LlmRefused as error:
            raise Unreadable(str(error)) from error
        return read_preference(answer.text)
