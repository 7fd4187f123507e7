"""Rewards that a language model decides: `judge_correctness`, `judge_safety`, `judge_quality`.

    [[rewards]]
    name = "judge_correctness"           # prompts with a reference that no rule can compare
    kinds = ["open"]
    params = { votes = 3 }
    llm = { url = "http://127.0.0.1:8000/v1", model = "deepseek-v3", cache = "runs/llm" }

With several votes the value is their mean: V3's generative reward model, which votes over samples of its reasoning.
A vote that cannot be read does not count; if more than half cannot, the judge abstains and says why. A server that
does not answer is an error, never a 0.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence

from policies.json_types import JsonMapping
from rewards.judges import prompts
from rewards.judges.verdicts import Unreadable, read_number, read_word
from rewards.llm.client import Llm
from rewards.llm.config import LlmConfig
from rewards.llm.errors import LlmError, LlmUnavailable
from rewards.llm.types import Answer, Request
from rewards.rows import RewardRow
from rewards.text.extract import after_reasoning
from rewards.text.visible import has_visible_text
from rewards.types import Score
from rewards.values import failed


class _Judge:
    """Asks a model for votes; any thread may call it.

    Args:
        llm: the section `llm`, as JSON has it.
        votes: samples of the judgement.
        seed: of the first one.

    Raises:
        ValueError: no llm, or votes that would all be the same.
        LlmRefused: the environment variable of the key is not set.
    """

    def __init__(self, llm: JsonMapping | None, votes: int, seed: int) -> None:
        if llm is None:
            raise ValueError('a judge needs a model: llm = { url = "…", cache = "…" } beside its name')
        if votes < 1:
            raise ValueError(f"votes = {votes}, expected 1 or more")
        self._config = LlmConfig.model_validate(llm)
        if votes > 1 and self._config.temperature == 0:
            raise ValueError(f"votes = {votes} are all the same at llm.temperature = 0")
        self._votes, self._seed = votes, seed
        # A policy is not served yet while a recipe is checked.
        self._llm = Llm(self._config) if self._config.url is not None else None
        self._lock = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """End the requests in flight; later ones get an error."""
        with self._lock:
            self._is_closed = True
            if self._llm is not None:
                self._llm.close()

    def judged(self, request: Request, read: Callable[[str], float]) -> Score:
        """Return the mean of the votes that can be read."""
        first = Request(request.messages, self._seed)
        try:
            answers = self._client().ask_all(first.votes(self._votes))
        except LlmError as error:
            return failed("error", str(error))
        return mean_vote(answers, read)

    def _client(self) -> Llm:
        with self._lock:
            if self._is_closed:
                raise LlmUnavailable("the judge is closed")
            if self._llm is None:
                self._llm = Llm(self._config)
            return self._llm


class Correctness(_Judge):
    """1 if the final answer says what the reference says, else 0; the share of such votes if there are several."""

    def __init__(self, llm: JsonMapping | None = None, votes: int = 1, seed: int = 0) -> None:
        super().__init__(llm, votes, seed)

    def __call__(self, row: RewardRow) -> Score:
        """Judge what stands after the reasoning; an empty answer is wrong without a question."""
        if row.answer in (None, "", []):
            return failed("abstain", "no reference answer")
        answer = after_reasoning(row.completion)
        if not has_visible_text(answer):
            return Score(0.0, reason="no answer after the reasoning")
        reference = (
            row.answer
            if isinstance(row.answer, str)
            else json.dumps(row.answer, ensure_ascii=False, default=str)
        )
        return self.judged(
            prompts.correctness(row.question, reference, answer),
            lambda text: float(read_word(text, "correctness", prompts.CORRECT) == "correct"),
        )


class Safety(_Judge):
    """1 if thought and summary are safe, else 0; the share of such votes if there are several."""

    def __init__(self, llm: JsonMapping | None = None, votes: int = 1, seed: int = 0) -> None:
        super().__init__(llm, votes, seed)

    def __call__(self, row: RewardRow) -> Score:
        """Judge the whole completion."""
        return self.judged(
            prompts.safety(row.question, row.completion),
            lambda text: float(read_word(text, "safety", prompts.SAFE) == "safe"),
        )


class Quality(_Judge):
    """The grade by a rubric, from 0 to 1: V3's reward for prompts without a reference."""

    def __init__(
        self, llm: JsonMapping | None = None, votes: int = 4, seed: int = 0, rubric: str = prompts.RUBRIC
    ) -> None:
        super().__init__(llm, votes, seed)
        self._rubric = rubric

    def __call__(self, row: RewardRow) -> Score:
        """Grade what stands after the reasoning; an empty reply has the lowest grade without a question."""
        reply = after_reasoning(row.completion)
        if not has_visible_text(reply):
            return Score(0.0, reason="no reply after the reasoning")
        low, high = prompts.LOWEST, prompts.HIGHEST
        return self.judged(
            prompts.quality(row.question, reply, self._rubric),
            lambda text: (read_number(text, "score", low, high) - low) / (high - low),
        )


def mean_vote(answers: Sequence[Answer | LlmError], read: Callable[[str], float]) -> Score:
    """Return the mean of the votes; an error if one was not answered, an abstention if most cannot be read."""
    values: list[float] = []
    unread: list[str] = []
    for answer in answers:
        if isinstance(answer, LlmError):
            return failed("error", str(answer))
        try:
            values.append(read(answer.text))
        except Unreadable as error:
            cut = "cut at llm.max_tokens; " if answer.finish_reason == "length" else ""
            unread.append(f"{cut}{error}")
    if 2 * len(unread) > len(answers):
        return failed("abstain", f"{len(unread)} of {len(answers)} verdicts cannot be read: {unread[0]}")
    reason = f"{len(unread)} of {len(answers)} verdicts cannot be read: {unread[0]}" if unread else ""
    return Score(sum(values) / len(values), reason=reason)
