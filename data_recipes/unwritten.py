"""Messages that a chat template leaves out whole: templates pass over roles that they do not know, without an error.

    refuse_unwritten("a.jsonl, line 1", "messages", chat.messages, chat.variables, tokenizer)

Found by rendering, not by names of roles: a mark is put behind the content of each message, and must be in the text.
The user's and the assistant's messages are not looked at: every template knows these roles, and leaves out on purpose
what the assistant thought in earlier turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from data_recipes.errors import DataError
from data_recipes.fields import show
from policies.errors import PolicyError
from policies.json_types import JsonDict
from policies.tokenizer import Tokenizer

KNOWN = ("user", "assistant")
ADVICE: Mapping[str, str] = {
    "developer": 'name the role "system"',
    "system": "put its text into the first message of the user",
}
OTHERWISE = "delete the message or the row"


def refuse_unwritten(
    where: str, name: str, messages: Sequence[JsonDict], variables: JsonDict, tokenizer: Tokenizer
) -> None:
    """Check that the chat template writes every message that is neither the user's nor the assistant's.

    Args:
        where: location of the row.
        name: the field, for messages.
        messages: the conversation, its system message included.
        variables: further variables of the template.
        tokenizer: source of the chat template.

    Raises:
        DataError: a message changes nothing in the text; names it.
    """
    others = {
        at: message
        for at, message in enumerate(messages)
        if message["role"] not in KNOWN and message["content"]
    }
    if not others or (set(others) == {0} and _writes_first(tokenizer, str(messages[0]["role"]))):
        return
    marked = [
        {**message, "content": f"{message['content']} {_mark(at)}"} if at in others else message
        for at, message in enumerate(messages)
    ]
    text = _rendered(marked, variables, tokenizer)
    if text is None:
        return
    for at, message in others.items():
        if _mark(at) not in text:
            role = str(message["role"])
            raise DataError(
                f"{where}: {name}: the chat template of {tokenizer.folder} does not write a message of the role "
                f"{role!r}, {show(message['content'])}; {ADVICE.get(role, OTHERWISE)}"
            )


@lru_cache(maxsize=32)
def _writes_first(tokenizer: Tokenizer, role: str) -> bool:
    messages: list[JsonDict] = [{"role": role, "content": _mark(0)}, {"role": "user", "content": "question"}]
    return _mark(0) in (_rendered(messages, {}, tokenizer) or "")


def _rendered(messages: list[JsonDict], variables: JsonDict, tokenizer: Tokenizer) -> str | None:
    """Return the text; None if the template refuses the messages, as it does where they are read, too."""
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=False, **variables)
    except PolicyError:
        return None


def _mark(at: int) -> str:
    return f"mark{at}of7h1s"
