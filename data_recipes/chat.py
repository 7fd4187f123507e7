"""Conversations of rows, as the chat template takes them: OpenAI's and ShareGPT's messages, tools, tool calls.

    chat = read_chat("a.jsonl, line 1", row, "messages", keys, tokenizer)
    chat.messages                    [{"role": "user", "content": "…"}, …]
    chat.variables                   {"tools": […], "enable_thinking": False}

Nothing that a template would leave out goes unseen: a part of a message that changes no character of the rendered text
(tool calls of a template without tools, reasoning that it drops) is an error that names row, message and key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any  # Any: values of rows

from data_recipes.errors import DataError
from data_recipes.fields import MISSING, ArrowRow, look_up, show
from data_recipes.tool_calls import check_calls, with_calls
from policies.errors import PolicyError
from policies.json_types import JsonDict, JsonMapping
from policies.tokenizer import Tokenizer

ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
"""Roles that messages may have. Any other role is a typing error ("asistant" would be read and never learnt)."""
SPEAKERS: Mapping[str, str] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""Role by ShareGPT's `from`."""
SPOKEN = ("tool_calls", "reasoning_content", "reasoning", "thinking")
"""Parts of an assistant's message beside its content that a template may write."""
REFUSED = {
    "function_call": "OpenAI's old form; write it as tool_calls",
    "audio": "only text can be learnt",
    "images": "only text can be read",
    "videos": "only text can be read",
}


@dataclass(frozen=True)
class ChatKeys:
    """The keys of a recipe that say what a chat template gets beside the messages."""

    tools_field: str | None = "tools"
    template_fields: tuple[str, ...] = ()
    variables: Mapping[str, object] | None = None
    """Variables for all rows."""


@dataclass(frozen=True)
class Chat:
    """A conversation as the template takes it."""

    messages: tuple[JsonDict, ...]
    variables: JsonDict
    """Further variables of the template, `tools` among them."""


def read_chat(
    where: str, row: JsonMapping, name: str, value: object, keys: ChatKeys, tokenizer: Tokenizer
) -> Chat:
    """Return the conversation in a field of a row.

    Args:
        where: location of the row.
        row: the whole row, with its tools and variables.
        name: the field, for messages.
        value: the field's value.
        keys: what the template gets beside the messages.
        tokenizer: source of the chat template.

    Raises:
        DataError: the value is no conversation, or holds what the template does not write.
    """
    variables = template_variables(where, row, keys, tokenizer)
    messages = to_messages(where, name, value, from_arrow=isinstance(row, ArrowRow))
    return Chat(tuple(with_calls(where, name, messages, variables, tokenizer)), variables)


def to_messages(where: str, name: str, value: object, from_arrow: bool = False) -> list[JsonDict]:
    """Return a list of messages (OpenAI's, or ShareGPT's turns) as messages with a role and a content.

    Args:
        where: location of the row.
        name: the field, for messages.
        value: the field's value.
        from_arrow: True drops keys with null in the parts of messages: Arrow fills in the keys of other rows.

    Raises:
        DataError: names the message and the key.
    """
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: {name} = {show(value)}; expected a list of messages")
    return [_message(where, f"{name}[{at}]", item, from_arrow) for at, item in enumerate(value)]


def _message(where: str, name: str, item: object, from_arrow: bool) -> JsonDict:
    if not isinstance(item, Mapping):
        raise DataError(f"{where}: {name} = {show(item)}; expected a role and a content, both text")
    message = {key: value for key, value in item.items() if value is not None}
    if from_arrow:
        message = without_nulls(message)
    for key, why in REFUSED.items():
        if message.get(key):
            raise DataError(f"{where}: {name} has {key}: {why}")
    if "role" not in message and "from" in message:
        message = _turn(where, name, message)
    role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
    if isinstance(content, list):
        content = message["content"] = _text_of_parts(where, name, content)
    if calls == []:
        calls = message.pop("tool_calls")
    if content is None and role == "assistant" and calls:
        content = message["content"] = ""
    if not isinstance(role, str) or not isinstance(content, str):
        null = " (content is null)" if isinstance(role, str) and content is None else ""
        raise DataError(
            f"{where}: {name} = {show(dict(item))}{null}; expected a role and a content, both text"
        )
    if role not in ROLES:
        raise DataError(f"{where}: {name} has role {role!r}; expected one of {', '.join(ROLES)}")
    if role == "user" and not content.strip():
        raise DataError(f"{where}: {name}: the user's message is empty")
    if calls is not None:
        if role != "assistant":
            raise DataError(
                f"{where}: {name} has tool_calls, and its role is {role!r}; only an assistant calls"
            )
        check_calls(where, name, calls)
    return message


def _turn(where: str, name: str, message: JsonMapping) -> JsonDict:
    """Return a ShareGPT turn as a message."""
    speaker, value = message["from"], message.get("value")
    if speaker not in SPEAKERS:
        raise DataError(f"{where}: {name} is from {speaker!r}; expected one of {', '.join(SPEAKERS)}")
    if not isinstance(value, str):
        raise DataError(f"{where}: {name}.value = {show(value)}; expected text")
    rest = {key: item for key, item in message.items() if key not in ("from", "value")}
    return {"role": SPEAKERS[speaker], "content": value, **rest}


def _text_of_parts(where: str, name: str, parts: Sequence[object]) -> str:
    """Return the text of OpenAI's list of parts."""
    texts = []
    for part in parts:
        if (
            not isinstance(part, Mapping)
            or part.get("type") != "text"
            or not isinstance(part.get("text"), str)
        ):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise DataError(
                f"{where}: {name} has a part of type {kind!r}; expected parts of type 'text' with a text"
            )
        texts.append(part["text"])
    return "\n".join(texts)


def template_variables(where: str, row: JsonMapping, keys: ChatKeys, tokenizer: Tokenizer) -> JsonDict:
    """Return what the template gets from a row and the recipe beside the messages; the recipe's variables win.

    Raises:
        DataError: the template does not read one of them.
    """
    found: JsonDict = {}
    origin: dict[str, str] = {}
    for name in keys.template_fields:
        value = look_up(row, name)
        if value is MISSING or value is None:
            continue
        part = without_nulls(value) if isinstance(value, Mapping) else {name.rpartition(".")[2]: value}
        found |= part
        origin |= dict.fromkeys(
            part, f"{where}: {name} = {show(value)}|set template_fields = [] to leave it out"
        )
    tools = row_tools(where, row, keys.tools_field)
    if tools:
        found["tools"] = tools
        origin["tools"] = (
            f"{where}: {keys.tools_field} = {show(tools)}|set tools_field = false to leave them out"
        )
    for name, value in (keys.variables or {}).items():
        found[name] = value
        origin[name] = f"chat_template_kwargs: {name} = {show(value)}|remove it"
    for name in found:
        if name not in tokenizer.template_variables:
            what, _, fix = origin[name].partition("|")
            raise DataError(f"{what}: the chat template of {tokenizer.folder} does not read {name}; {fix}")
    return found


def refuse_unread(where: str, row: JsonMapping, keys: ChatKeys, template: str) -> None:
    """Refuse what a row has for a chat template and another template does not show the policy.

    Raises:
        DataError: names the field, its value and the keys.
    """
    tools = look_up(row, keys.tools_field) if keys.tools_field is not None else MISSING
    if isinstance(tools, list) and tools and all(isinstance(tool, Mapping) for tool in tools):
        raise DataError(
            f"{where}: {keys.tools_field} = {show(tools)}: template = {template!r} does not show tools; set template = "
            '"chat", or tools_field = false to leave them out'
        )
    for name in keys.template_fields:
        value = look_up(row, name)
        if value is not MISSING and value is not None:
            raise DataError(
                f"{where}: {name} = {show(value)}: template = {template!r} does not read it; set template = "
                '"chat", or template_fields = [] to leave it out'
            )


def with_system(chat: Chat, system: str | None) -> Chat:
    """Return the conversation with a system message in front, unless it has one or `system` is None."""
    if system is None or chat.messages[0]["role"] in ("system", "developer"):
        return chat
    return Chat(({"role": "system", "content": system}, *chat.messages), chat.variables)


def row_tools(where: str, row: JsonMapping, name: str | None) -> list[JsonDict]:
    """Return the tools of a row, [] if it has none; JSON as text is read.

    Raises:
        DataError: the field holds something else than a list of objects.
    """
    value = look_up(row, name) if name is not None else None
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except ValueError as error:
            raise DataError(f"{where}: {name} = {show(value)}: not JSON ({error})") from error
    if value is MISSING or not value:
        return []
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise DataError(
            f"{where}: {name} = {show(value)}; expected a list of tools (set tools_field to another, or to false)"
        )
    return [without_nulls(tool) if isinstance(row, ArrowRow) else dict(tool) for tool in value]


def without_nulls(value: Any) -> Any:
    """Return a tree of lists and objects without keys whose value is None."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def spoken_reply(
    where: str, name: str, chat: Chat, at: int, prompt: str, end: str, tokenizer: Tokenizer
) -> str:
    """Return the text of an assistant's turn as the policy is to write it.

    It is the content; with tool calls or reasoning beside it, what the template writes between the prompt and the end
    of the turn.

    Args:
        where: location of the row.
        name: the field, for messages.
        chat: the conversation.
        at: index of the turn.
        prompt: the rendered conversation before it.
        end: the text that ends a turn.
        tokenizer: source of the chat template.

    Raises:
        DataError: the template leaves a part out, or writes the turn elsewhere than where the policy would go on.
    """
    message = chat.messages[at]
    parts = [key for key in SPOKEN if message.get(key)]
    if not parts:
        return str(message["content"])
    here = f"{where}: {name}[{at}]"

    def rendered(last: JsonDict) -> str:
        try:
            return tokenizer.apply_chat_template(
                [*chat.messages[:at], last], add_generation_prompt=False, **chat.variables
            )
        except PolicyError as error:
            raise DataError(f"{here}: {error}") from error

    whole = rendered(message)
    for key in parts:
        if key != "tool_calls" and rendered({k: v for k, v in message.items() if k != key}) == whole:
            raise DataError(
                f"{here}.{key}: the chat template of {tokenizer.folder} does not write it; put it into content, as "
                "<think>…</think>"
            )
    reply, found, _ = whole.removeprefix(prompt).rpartition(end)
    if not whole.startswith(prompt) or not found:
        raise DataError(
            f"{here}: with its {' and '.join(parts)} the chat template writes the turn elsewhere than where the policy "
            f"would go on, after {prompt[-20:]!r}; delete the row"
        )
    return reply
