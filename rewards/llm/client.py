"""Asks a language model: `Llm(config)` is a client of any OpenAI-compatible server.

    with Llm(config) as llm:
        llm.check()                                    # the server answers and offers the model
        answer = llm.ask(Request.of("…"))              # from any thread; raises LlmError
        found = llm.ask_all(requests)                  # in order, Answer or LlmError each

Each request is looked up in the cache, waits for its turn (`concurrency`, `requests_per_minute`), is sent, and sent
again after what may pass: see `LlmConfig.attempts`. All of it runs on one event loop in a thread of its own, so that
every wait ends at its deadline, also while a server sends one byte a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from rewards.llm.cache import Answers, Spent
from rewards.llm.config import LlmConfig
from rewards.llm.errors import LlmError, LlmRefused, LlmUnavailable
from rewards.llm.protocol import RETRIED, body, read_answer, read_error, read_models, retry_after_s
from rewards.llm.types import Answer, Request

if TYPE_CHECKING:
    from policies.json_types import JsonDict

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Pause before the second attempt, and the bound of its doubling; each is drawn from the upper half."""


class Llm:
    """A client; any thread may ask. Close it, or use it as a context: requests in flight then end with an error.

    Args:
        config: with `url`; who starts a server for `policy` gives its address here.

    Raises:
        LlmRefused: the environment variable `api_key_env` is not set.
    """

    def __init__(self, config: LlmConfig) -> None:
        import httpx

        if config.url is None:
            raise ValueError(f"policy = {config.policy!r} is not served: serve it, and set url")
        self.config, self._url = config, config.url
        self._answers = Answers(config.cache)
        self._spent = Spent(config.cache, config.budget_requests, config.budget_tokens)
        self._model = config.model
        self._asked: dict[tuple[object, ...], asyncio.Task[Answer]] = {}
        self._down = ""
        """Why a request was given up while no other succeeded: until one does, each has one attempt, and nobody waits
        hours for a server that is gone."""
        self._succeeded = 0.0
        self._next_start, self._paused_until = 0.0, 0.0
        self._slots = asyncio.Semaphore(config.concurrency)
        self._http = httpx.AsyncClient(
            headers=_key_header(config),
            limits=httpx.Limits(max_connections=None),
            timeout=None,  # asyncio.timeout bounds the whole attempt
            trust_env=not _is_local(config.url),  # no proxy stands between this machine and itself
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llm", daemon=True)
        self._thread.start()
        self._closing = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Llm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> str:
        """Return the model's name, once the server has said that it offers it.

        Raises:
            LlmError: it does not answer, or offers another model.
        """
        return self._run(self._offered())

    def ask(self, request: Request) -> Answer:
        """Return the answer, from the cache or the server.

        Raises:
            LlmError: there is none; see the subclasses in `rewards.llm.errors`.
        """
        return self._run(self._shared(request))

    def ask_all(self, requests: Sequence[Request]) -> list[Answer | LlmError]:
        """Ask several at once; the answers stand in order, an error in the place of an answer that there is not."""

        async def every() -> list[Answer | LlmError]:
            return list(await asyncio.gather(*(_settled(self._shared(request)) for request in requests)))

        return self._run(every())

    def close(self) -> None:
        """End all requests and the thread. May be called twice."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[object, object, ResultT]) -> ResultT:
        with self._closing:
            if self._is_closed:
                work.close()
                raise LlmUnavailable("the client is closed")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError as error:
            raise LlmUnavailable("the client was closed") from error

    async def _end(self) -> None:
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    async def _shared(self, request: Request) -> Answer:
        """Return the answer; equal requests at one time are one."""
        key = (request.messages, request.seed)
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.ensure_future(self._answer(request))
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return await asyncio.shield(task)

    async def _answer(self, request: Request) -> Answer:
        async with self._slots:
            if self._model is None:
                self._model = await self._offered()
            asked = body(request, self.config, self._model)
            if (found := self._answers.find(asked)) is not None:
                return found
            answer = await self._attempts(asked)
            self._answers.store(asked, answer)
            return answer

    async def _attempts(self, asked: JsonDict) -> Answer:
        """Send a request until it is answered.

        Raises:
            LlmUnavailable, LlmRefused, BudgetSpent: it is not; the message has the last reason.
        """
        await self._turn()
        began = time.monotonic()
        until = began + self.config.deadline_s
        why = ""
        for attempt in range(1, self.config.attempts + 1):
            if attempt > 1:
                await self._turn()
            await self._pause(until, why)
            self._spent.reserve()
            tokens, answer, pause_s = 0, None, 0.0
            try:
                answer, why, pause_s = await self._attempt(asked, until - time.monotonic())
                tokens = answer.prompt_tokens + answer.completion_tokens if answer else 0
            finally:
                self._spent.settle(tokens)
            if answer is not None:
                self._down, self._succeeded = "", time.monotonic()
                return answer
            if self._down or attempt == self.config.attempts:
                break
            own_s = min(FIRST_PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S) * random.uniform(0.5, 1)
            if time.monotonic() + max(own_s, pause_s) >= until:
                why += f"; deadline_s = {self.config.deadline_s:g} leaves no time for another attempt"
                break
            logger.info("%s: %s; attempt %d follows", self._url, why, attempt + 1)
            self._paused_until = max(self._paused_until, time.monotonic() + pause_s)
            await asyncio.sleep(own_s)
        if self._succeeded < began:
            self._down = why
        raise LlmUnavailable(
            f"{self._url}: no answer after {attempt} of {self.config.attempts} attempts: {why}"
        )

    async def _attempt(self, asked: JsonDict, left_s: float) -> tuple[Answer | None, str, float]:
        """Send once; returns the answer, or None, the reason and the pause that the server wants in seconds."""
        import httpx

        limit_s = min(self.config.request_s, left_s)
        try:
            async with asyncio.timeout(limit_s):
                response = await self._http.post(f"{self._url}/chat/completions", json=asked)
        except TimeoutError:
            return None, f"no answer within {limit_s:.3g} s", 0.0
        except (httpx.HTTPError, httpx.StreamError) as error:
            return None, _lost(error), 0.0
        if response.status_code == 200:
            try:
                return read_answer(response.content), "", 0.0
            except ValueError as error:
                return None, str(error), 0.0
        why = read_error(response.status_code, response.content)
        if response.status_code not in RETRIED:
            raise LlmRefused(f"{self._url}: {why}{self._hint(response.status_code)}")
        return None, why, retry_after_s(response.headers) or 0.0

    async def _turn(self) -> None:
        """Wait for the next start that requests_per_minute allows."""
        if self.config.requests_per_minute is not None:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + 60 / self.config.requests_per_minute
            await asyncio.sleep(start - now)

    async def _pause(self, until: float, why: str) -> None:
        """Wait as long as the server's last Retry-After asks all to.

        Raises:
            LlmUnavailable: that is later than the deadline.
        """
        pause_s = self._paused_until - time.monotonic()
        if self._paused_until >= until:
            raise LlmUnavailable(
                f"{self._url}: the server asks to wait {pause_s:.3g} s more, past deadline_s = "
                f"{self.config.deadline_s:g}{f' ({why})' if why else ''}"
            )
        await asyncio.sleep(max(0.0, pause_s))

    async def _offered(self) -> str:
        """Return the model to ask for, which the server offers."""
        import httpx

        try:
            async with asyncio.timeout(min(60.0, self.config.request_s)):
                response = await self._http.get(f"{self._url}/models")
        except TimeoutError as error:
            raise LlmUnavailable(f"{self._url}: GET /models is not answered") from error
        except httpx.HTTPError as error:
            raise LlmUnavailable(
                f"{self._url}: {_lost(error)}; `grpo serve POLICY` starts a server, or set url"
            ) from error
        if response.status_code != 200:
            why = read_error(response.status_code, response.content)
            raise LlmRefused(f"{self._url}/models: {why}{self._hint(response.status_code)}")
        try:
            names = read_models(response.content)
        except ValueError as error:
            raise LlmRefused(f"{self._url}: {error}; does url end as it should, e.g. in /v1?") from error
        wanted = self.config.model
        if wanted in names:
            return wanted
        if wanted is None and len(names) == 1:
            return names[0]
        raise LlmRefused(f"{self._url} offers {', '.join(names[:8]) or 'no model'}; set model to one of them")

    def _hint(self, status: int) -> str:
        if status in (401, 403):
            name = self.config.api_key_env
            return (
                f"; the key comes from {name}" if name else "; set api_key_env to the variable with its key"
            )
        return "; check url and model" if status == 404 else ""


async def _settled(work: Coroutine[object, object, Answer]) -> Answer | LlmError:
    try:
        return await work
    except LlmError as error:
        return error


def _lost(error: Exception) -> str:
    return f"the connection failed ({type(error).__name__}: {str(error) or 'no reason given'})"


def _is_local(url: str) -> bool:
    return (urlsplit(url).hostname or "") in ("localhost", "::1") or urlsplit(url).netloc.startswith("127.")


def _key_header(config: LlmConfig) -> dict[str, str]:
    if config.api_key_env is None:
        return {}
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise LlmRefused(f"api_key_env = {config.api_key_env!r}: that environment variable is not set")
    return {"Authorization": f"Bearer {key}"}
