"""The section `llm` of whatever asks a language model. It imports pydantic alone.

llm = { url = "http://127.0.0.1:8000/v1", model = "deepseek-v3", cache = "runs/llm" }
llm = { policy = "runs/dev3/policy", cache = "runs/llm" }      # the stage serves it, for as long as it runs
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from policies.json_types import JsonDict
from policies.settings import Content, Identity, Operational, Settings


class LlmConfig(Settings, paths=("policy",)):
    """A language model, how it is asked, and what that may cost."""

    url: Operational[str | None] = None
    """An OpenAI-compatible server, e.g. `http://127.0.0.1:8000/v1` of `grpo serve`; exclusive with `policy`."""
    policy: Content[str | None] = None
    """A model folder, run folder or hub id: the stage serves it on this machine (`grpo serve`) while it runs."""
    serve: Operational[tuple[str, ...]] = ()
    """More options of `grpo serve` for `policy`, e.g. `["--max-model-len", "4096", "--template", "chat"]`."""
    model: Identity[str | None] = Field(None, min_length=1)
    """The model's name at the server, which is part of every cached answer's key. None: the only one it offers."""
    api_key_env: Operational[str | None] = None
    """The environment variable that holds the server's key; the key itself stands in no file. None: no key."""
    cache: Operational[Path]
    """Folder of answers, one file each, by content: a stage that runs again asks for no answer twice. It also holds
    the record of what was spent. Several stages may share it."""
    temperature: Identity[float] = Field(0.6, ge=0, le=2)
    """Of the model's samples; several votes need a temperature above 0."""
    top_p: Identity[float] = Field(0.95, gt=0, le=1)
    """Nucleus of the model's samples."""
    max_tokens: Identity[int] = Field(2048, ge=1)
    """Longest answer, in tokens."""
    extra: Identity[JsonDict] = Field(default_factory=dict)
    """More fields of the request's body, e.g. `{ reasoning_effort = "low" }`."""
    concurrency: Operational[int] = Field(16, ge=1, le=4096)
    """Requests in flight at most."""
    requests_per_minute: Operational[float | None] = Field(None, gt=0)
    """Requests started in a minute at most, evenly spaced. None: no limit but the server's."""
    attempts: Operational[int] = Field(10, ge=1, le=100)
    """Times a request is sent before it is given up; after 408, 409, 425, 429, 5xx, a lost connection, a slow or
    broken answer it is sent again, later each time, and not before the server's Retry-After."""
    request_s: Operational[float] = Field(300.0, gt=0)
    """Longest time of one attempt, in seconds."""
    deadline_s: Operational[float] = Field(900.0, gt=0)
    """Longest time of one answer with all its attempts and pauses, in seconds, from the first attempt."""
    budget_requests: Operational[int | None] = Field(None, ge=1)
    """Requests that may be sent in all, repeated ones included, by every run with this cache. None: no limit."""
    budget_tokens: Operational[int | None] = Field(None, ge=1)
    """Tokens that may be spent in all, prompts and answers, by every run with this cache. None: no limit."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is no address; write e.g. http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("a key in the address would be written into run folders; name it by api_key_env")
        return value.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
            raise ValueError("expected the name of an environment variable, e.g. OPENAI_API_KEY, not the key")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> LlmConfig:
        if (self.url is None) == (self.policy is None):
            raise ValueError("give one of url (a server that runs) and policy (served while the stage runs)")
        if self.policy is not None and (self.model or self.api_key_env):
            raise ValueError(
                "model and api_key_env belong to url; a policy is served under a name of its own"
            )
        return self
