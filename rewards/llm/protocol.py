"""The chat protocol of OpenAI-compatible servers: what is sent, and what an answer must look like.

body(request, config, "deepseek-v3")    → {"model": "deepseek-v3", "messages": […], "seed": 7, …}
read_answer(content)                    → Answer, or ValueError that says what is wrong
read_error(429, content)                → "429 Too Many Requests: slow down"
"""

from __future__ import annotations

import email.utils
import http
import json
import time
from collections.abc import Mapping

from policies.json_types import JsonDict
from rewards.llm.config import LlmConfig
from rewards.llm.types import Answer, Request

RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)})
"""Statuses after which the same request may succeed."""
SHOWN = 300
"""Characters of a server's message that are quoted."""


def body(request: Request, config: LlmConfig, model: str) -> JsonDict:
    """Return the body of a request, which is also what its answer is stored under."""
    return {
        "model": model,
        "messages": [{"role": m.role, "content": m.content} for m in request.messages],
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_tokens": config.max_tokens,
        "seed": request.seed,
        **config.extra,
    }


def read_answer(content: bytes) -> Answer:
    """Read the body of a 200.

    Raises:
        ValueError: it is no JSON, or not a chat completion.
    """
    try:
        message = json.loads(content)
    except ValueError as error:
        raise ValueError(f"its answer is no JSON ({error}): {_quoted(content)}") from error
    try:
        choice = message["choices"][0]
        text = choice["message"]["content"]
        finish = choice.get("finish_reason")
        usage = message.get("usage") or {}
        counts = [usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens")]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"its answer is no chat completion: {_quoted(content)}") from error
    if not (text is None or isinstance(text, str)) or not all(type(count) is int for count in counts):
        raise ValueError(f"its answer is no chat completion: {_quoted(content)}")
    # None: a reasoning model whose thought took all tokens. That is an answer, and an empty one.
    return Answer(text or "", str(finish), counts[0], counts[1], is_cached=False)


def read_models(content: bytes) -> list[str]:
    """Read the names of GET /models.

    Raises:
        ValueError: it is no such list.
    """
    try:
        return [str(model["id"]) for model in json.loads(content)["data"]]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"GET /models gave no list of models: {_quoted(content)}") from error


def read_error(status: int, content: bytes) -> str:
    """Describe an answer that is no 200, with the server's own words."""
    try:
        name = f"{status} {http.HTTPStatus(status).phrase}"
    except ValueError:
        name = str(status)
    try:
        found = json.loads(content)
        found = found.get("error", found)
        words = found.get("message", found) if isinstance(found, Mapping) else found
    except (ValueError, AttributeError):
        words = content.decode("utf-8", "replace")
    words = " ".join(str(words).split())
    return f"{name}: {words[:SHOWN]}" if words else name


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait (`Retry-After`, as a number or a date); None if it does not."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None


def _quoted(content: bytes) -> str:
    return repr(content[:SHOWN].decode("utf-8", "replace"))
