"""Tool calls in the form that a chat template takes, found by rendering; a call that it would leave out is an error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from data_recipes.errors import DataError
from data_recipes.fields import show
from policies.errors import PolicyError
from policies.json_types import JsonDict, JsonMapping
from policies.tokenizer import Tokenizer


@dataclass(frozen=True)
class CallStyle:
    """How a chat template takes tool calls."""

    as_text: bool
    """True if arguments are JSON text, False if they are an object."""
    empty: str | None
    """The content of a message that only calls."""


_PROBE_TOOLS = [
    {"type": "function", "function": {"name": "other", "description": "", "parameters": {"type": "object"}}}
]


@lru_cache(maxsize=8)
def call_style(tokenizer: Tokenizer) -> CallStyle | None:
    """Find by rendering how a chat template takes tool calls; None if it writes none."""
    for as_text in (False, True):
        for empty in ("", None):
            arguments: object = {"key-probe": "value"}
            call = {"name": "name_probe", "arguments": json.dumps(arguments) if as_text else arguments}
            messages: list[JsonDict] = [
                {"role": "user", "content": "question"},
                {
                    "role": "assistant",
                    "content": empty,
                    "tool_calls": [{"id": "abcdefgh1", "type": "function", "function": call}],
                },
            ]
            try:
                text = tokenizer.apply_chat_template(
                    messages, add_generation_prompt=False, tools=_PROBE_TOOLS
                )
            except PolicyError:
                continue
            # Not escaped, and not Python's repr: the JSON that the policy is to write.
            if "name_probe" in text and '"key-probe"' in text and "None" not in text:
                return CallStyle(as_text, empty)
    return None


def with_calls(
    where: str, name: str, messages: Sequence[JsonDict], variables: JsonDict, tokenizer: Tokenizer
) -> list[JsonDict]:
    """Return the messages with tool calls in the form that the template takes.

    Args:
        where: location of the row.
        name: the field, for messages.
        messages: the conversation.
        variables: further variables of the template.
        tokenizer: source of the chat template.

    Raises:
        DataError: the template does not write a message's calls, or arguments are no JSON object.
    """
    done: list[JsonDict] = []
    for at, message in enumerate(messages):
        if not message.get("tool_calls"):
            done.append(message)
            continue
        style = call_style(tokenizer)
        here = f"{where}: {name}[{at}].tool_calls"
        if style is None:
            raise DataError(
                f"{here}: the chat template of {tokenizer.folder} writes no tool calls; delete the row"
            )
        calls = [_call(f"{here}[{number}]", call, style) for number, call in enumerate(message["tool_calls"])]
        message = {**message, "content": message["content"] or style.empty, "tool_calls": calls}
        bare: JsonDict = {**message, "content": message["content"] or ""}
        bare.pop("tool_calls")
        history: list[JsonDict] = done
        try:
            whole, less = (
                tokenizer.apply_chat_template([*history, last], add_generation_prompt=False, **variables)
                for last in (message, bare)
            )
        except PolicyError as error:
            raise DataError(f"{here}: {error}") from error
        if whole == less:
            raise DataError(
                f"{here}: the chat template of {tokenizer.folder} drops the calls of a message with content; move the "
                "content into a message of its own, or delete the row"
            )
        done.append(message)
    return done


def _call(where: str, call: JsonMapping, style: CallStyle) -> JsonDict:
    function = call["function"]
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise DataError(f"{where}.arguments = {show(arguments)}: not JSON ({error})") from error
    if not isinstance(arguments, Mapping):
        raise DataError(f"{where}.arguments = {show(arguments)}; expected an object")
    if style.as_text:
        given = function.get("arguments")
        arguments = (
            given if isinstance(given, str) and given.strip() else json.dumps(arguments, ensure_ascii=False)
        )
    return {**call, "function": {**function, "arguments": arguments}}


def check_calls(where: str, name: str, calls: object) -> None:
    """Check that a message's tool calls are OpenAI's.

    Raises:
        DataError: names the message and the call.
    """
    for at, call in enumerate(calls if isinstance(calls, list) else [calls]):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise DataError(
                f'{where}: {name}.tool_calls[{at}] = {show(call)}; expected {{"type": "function", "function": '
                '{"name": …, "arguments": …}}'
            )
    if not isinstance(calls, list):
        raise DataError(f"{where}: {name}.tool_calls = {show(calls)}; expected a list of calls")
