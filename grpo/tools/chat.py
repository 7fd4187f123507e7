"""`grpo chat`: a conversation in the terminal, with a policy or with a server that runs already.

A policy is served by `grpo serve` in a process of its own, on a free port of this machine, for as long as the chat
lasts; so the chat and every other client see the same server.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO, cast

from data_recipes.templates import render
from grpo.common.errors import RunError
from grpo.common.own_server import own_server
from grpo.common.policy_folder import Prompting, find_policy, prompting
from grpo.tools.serve import TEMPLATES, chosen_template
from policies.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionMessageParam

HELP = """/reset          forget the conversation
/system TEXT    set the system message and forget the conversation; without a text, remove it
/help           these lines
/exit           leave (also Ctrl-D)"""
REQUEST_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Sampling:
    """How replies are sampled."""

    temperature: float
    top_p: float
    max_tokens: int | None
    """None: as far as the context goes."""
    stop_token_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Server:
    """A server, and what a client must know about its policy."""

    url: str
    """With /v1 at its end."""
    one_turn: bool = False
    """True if the policy's template has no turns: each message is a question of its own."""
    prefill: str = ""
    """Text at the start of the assistant's turn, which is part of the prompt."""
    stop_token_ids: tuple[int, ...] = ()
    is_ours: bool = False
    """True if vLLM's own parameters may be sent."""


def run(
    policy: str | None,
    *,
    url: str | None,
    system: str | None,
    template: str | None,
    sampling: Sampling,
    serve_options: Sequence[str],
) -> None:
    """Chat until the input ends.

    Args:
        policy: model folder, run folder or hub id; None with `url`.
        url: a running server, e.g. http://127.0.0.1:8000/v1.
        system: the system message.
        template: as for `grpo serve`.
        sampling: how replies are sampled.
        serve_options: more options of `grpo serve`.

    Raises:
        RunError: there is no server, or it refuses to start.
    """
    if url is not None:
        talk(Server(url.rstrip("/").removesuffix("/v1") + "/v1"), system, sampling)
        return
    assert policy is not None
    folder = find_policy(policy)
    tokenizer = load_tokenizer(folder)
    trained = prompting(folder)
    known = chosen_template(template, tokenizer, trained)
    if known is None and not tokenizer.has_chat_template:
        raise RunError(
            f"{folder} has no chat template, and how it was trained is not known here: "
            "add --template r1-zero, plain or a Jinja file"
        )
    how = (
        trained
        if trained is not None and template in (None, trained.template)
        else Prompting(template or "chat")
    )
    stops = [token for text in how.stop_tokens for token in tokenizer.encode(text)]
    options = [*(["--template", template] if template else []), *serve_options]
    with unwound_by_sigterm(), own_server(folder, options) as address:
        server = Server(
            address,
            one_turn=how.template in ("r1-zero", "plain"),
            prefill=shown_prefill(how, tokenizer),
            stop_token_ids=tuple(stops),
            is_ours=True,
        )
        talk(server, system, sampling)


def shown_prefill(how: Prompting, tokenizer: Tokenizer) -> str:
    """Return the start of each reply that is part of the prompt: the template's own `<think>`, the recipe's prefill."""
    if how.template not in TEMPLATES:
        return ""
    return render(how.template, "", tokenizer, how.system, how.prefill, how.preamble).prefill


@contextmanager
def unwound_by_sigterm() -> Iterator[None]:
    """Let SIGTERM leave the block through its `finally` clauses."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def talk(server: Server, system: str | None, sampling: Sampling, source: TextIO | None = None) -> None:
    """Read lines, answer each; commands begin with a slash.

    Raises:
        RunError: the server cannot be reached or offers no model.
    """
    from openai import APIError, OpenAI

    client = OpenAI(
        base_url=server.url, api_key=os.environ.get("VLLM_API_KEY") or "none", timeout=REQUEST_TIMEOUT_S
    )
    try:
        models = [model.id for model in client.models.list()]
    except APIError as error:
        raise RunError(
            f"no server answers at {server.url}: {error}; `grpo serve POLICY` starts one"
        ) from error
    if not models:
        raise RunError(f"{server.url} offers no model")
    sampling = replace(sampling, stop_token_ids=sampling.stop_token_ids + server.stop_token_ids)
    history: list[dict[str, str]] = []
    note = "; each message is a question of its own" if server.one_turn else ""
    print(f"{models[0]} at {server.url}{note}; /help lists the commands", file=sys.stderr, flush=True)
    for line in lines(source or sys.stdin):
        command, _, rest = line.partition(" ")
        if command in ("/exit", "/quit"):
            return
        if command == "/help":
            print(HELP)
        elif command == "/reset":
            history.clear()
        elif command == "/system":
            system = rest.strip() or None
            history.clear()
        elif line.startswith("/"):
            print(f"no command {command}; /help lists them", file=sys.stderr)
        elif line.strip():
            question = {"role": "user", "content": line}
            sent = [*([{"role": "system", "content": system}] if system else []), *history, question]
            try:
                text = reply(client, models[0], sent, sampling, server)
            except APIError as error:
                print(f"\nthe server refused this: {error}", file=sys.stderr)
                continue
            if not server.one_turn:
                history += [question, {"role": "assistant", "content": text}]


def lines(source: TextIO) -> Iterator[str]:
    """Yield the lines of the input, with a prompt on a terminal; Ctrl-C and Ctrl-D end it."""
    if source is sys.stdin and source.isatty():
        import readline  # noqa: F401  # editing and history for input()

        while True:
            try:
                yield input("> ")
            except (EOFError, KeyboardInterrupt):
                print()
                return
    for line in source:
        yield line.rstrip("\n")


def reply(
    client: OpenAI, model: str, messages: list[dict[str, str]], sampling: Sampling, server: Server
) -> str:
    """Print a reply as it comes and return it; Ctrl-C cuts it short.

    Raises:
        openai.APIError: the server refuses the request.
    """
    extra: dict[str, object] = {}
    if server.is_ours:  # text as the policy wrote it: tags may be special tokens
        extra = {"skip_special_tokens": False, "stop_token_ids": list(sampling.stop_token_ids)}
    stream = client.chat.completions.create(
        model=model,
        messages=cast("list[ChatCompletionMessageParam]", messages),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        stream=True,
        extra_body=extra,
    )
    parts: list[str] = []
    print(server.prefill, end="", flush=True)
    try:
        for chunk in stream:
            for choice in chunk.choices:
                if choice.delta.content:
                    parts.append(choice.delta.content)
                    print(choice.delta.content, end="", flush=True)
                if choice.finish_reason == "length":
                    print(" [cut at the length limit]", end="", file=sys.stderr)
    except KeyboardInterrupt:
        stream.close()
        print(" [stopped]", end="", file=sys.stderr)
    print(flush=True)
    return "".join(parts)
