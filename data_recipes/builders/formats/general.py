"""Prompts without a rule: HelpSteer, UltraFeedback, Arena-Hard, WildChat and LMSYS-Chat, and safety prompts.

A reward model judges what is answered, so a row here is a conversation up to a user's message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from data_recipes.builders.formats.built import Built, Kind, LeftOut, Message
from data_recipes.builders.formats.fields import any_text, reference, text
from data_recipes.chat import to_messages
from data_recipes.errors import DataError
from data_recipes.fields import MISSING, ArrowRow, Row, look_up, show

_HELPSTEER_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_CHATS = ("messages", "conversation", "conversations")


def from_helpsteer(where: str, row: Row) -> Built:
    """HelpSteer and HelpSteer2: prompt, in several turns with <extra_id_1>Assistant and <extra_id_1>User between."""
    first, *rest = _HELPSTEER_TURN.split(text(where, row, "prompt"))
    turns = [Message("user", first.strip())]
    turns += [Message(role.lower(), said.strip()) for role, said in zip(rest[::2], rest[1::2], strict=True)]
    return conversation(where, "prompt", turns)


def from_prompts(where: str, row: Row) -> Built:
    """UltraFeedback, Arena-Hard 2 and others: prompt or instruction as text; or prompt or messages as messages."""
    value = look_up(row, "prompt")
    name = (
        "prompt"
        if isinstance(value, list)
        else next((n for n in _CHATS if isinstance(look_up(row, n), list)), None)
    )
    if name is None or isinstance(value, str):
        return Built("general", any_text(where, row, ("prompt", "instruction", "question")))
    return conversation(where, name, spoken(where, row, name))


def from_arena_hard(where: str, row: Row) -> Built:
    """Arena-Hard and MT-Bench: turns, each a text or an object with content; the first one is asked."""
    turns = look_up(row, "turns")
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{where}: turns = {show(turns)}; expected a list with the questions")
    first = turns[0] if isinstance(turns[0], dict) else {"content": turns[0]}
    return Built("general", text(where, first, "content"))


def from_chats(where: str, row: Row) -> Built:
    """WildChat and LMSYS-Chat-1M: conversation of role and content; those that a moderator flagged are left out."""
    if look_up(row, "toxic") is True or look_up(row, "redacted") is True:
        raise LeftOut("flagged")
    flags = look_up(row, "openai_moderation")
    if isinstance(flags, list) and any(isinstance(f, dict) and f.get("flagged") for f in flags):
        raise LeftOut("flagged")
    name = next((n for n in _CHATS if look_up(row, n) is not MISSING), "conversation")
    return conversation(where, name, spoken(where, row, name))


def from_reference(where: str, row: Row) -> Built:
    """NaturalReasoning and others: question, and reference_answer or answer in words; rows without one are left out."""
    question = any_text(where, row, ("question", "prompt", "problem"))
    name = "answer" if look_up(row, "reference_answer") is MISSING else "reference_answer"
    found = look_up(row, name)
    if found is None or (isinstance(found, str) and not found.strip()):
        raise LeftOut("no_answer")
    return Built("open", question, answer=reference(where, row, name))


def from_safety(where: str, row: Row) -> Built:
    """BeaverTails, PKU-SafeRLHF, Do-Not-Answer, AdvBench: a prompt that may ask for something harmful."""
    return Built("safety", any_text(where, row, ("prompt", "question", "goal", "instruction")))


def spoken(where: str, row: Row, name: str) -> list[Message]:
    """Return a conversation of a row as messages of role and content.

    Raises:
        DataError: it is none, or holds tool calls.
    """
    found = to_messages(where, name, look_up(row, name), isinstance(row, ArrowRow))
    if any(m.get("tool_calls") or m["role"] not in ("system", "user", "assistant") for m in found):
        raise LeftOut("tools")
    return [Message(m["role"], m["content"].strip()) for m in found]


def conversation(where: str, name: str, said: Sequence[Message], kind: Kind = "general") -> Built:
    """Return the conversation up to its last question; replies behind it are not asked for.

    Raises:
        DataError: the user says nothing in it, or its roles do not alternate.
    """
    last = max((at for at, message in enumerate(said) if message.role == "user"), default=None)
    if last is None:
        raise DataError(f"{where}: {name} has no message of the user")
    turns = [message for message in said[: last + 1] if message.role != "system"]
    if any(m.role != ("user", "assistant")[at % 2] or not m.content for at, m in enumerate(turns)):
        roles = ", ".join(message.role for message in said)
        raise DataError(
            f"{where}: {name} has the messages {roles}; expected user and assistant in turn, none empty"
        )
    return Built(kind, said[last].content, before=tuple(said[:last]))
