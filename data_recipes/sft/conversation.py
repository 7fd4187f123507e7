"""The conversation of a scored sample or a finished row, as messages that a policy with another template can render."""

from __future__ import annotations

import json

from data_recipes.chat import row_tools, to_messages
from data_recipes.errors import DataError
from data_recipes.fields import ArrowRow
from policies.json_types import JsonDict, JsonMapping


def messages_of(where: str, row: JsonMapping) -> list[JsonDict] | None:
    """Return the messages that a row's prompt renders, for a policy with another template; None if they are not known.

    They are the row's `messages` (JSON in samples), else its question as the user's.

    Raises:
        DataError: `messages` holds no conversation.
    """
    found = row.get("messages")
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError as error:
            raise DataError(f"{where}: messages: not JSON ({error})") from error
    if found is None:
        question = row.get("question")
        return [{"role": "user", "content": question}] if question else None
    messages = to_messages(where, "messages", found, isinstance(row, ArrowRow))
    return [with_text_arguments(message) for message in messages]


def tools_text(where: str, row: JsonMapping) -> str | None:
    """Return the tools of a row's conversation as JSON, None if it has none.

    Raises:
        DataError: the column holds something else.
    """
    tools = row_tools(where, row, "tools")
    return json.dumps(tools, ensure_ascii=False) if tools else None


def with_text_arguments(message: JsonDict) -> JsonDict:
    """Return the message with the arguments of its tool calls as JSON text, for a Parquet column has one type."""
    calls = [
        {
            **call,
            "function": {
                **call["function"],
                "arguments": given
                if isinstance(given := call["function"].get("arguments"), str)
                else json.dumps(given, ensure_ascii=False),
            },
        }
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else message
