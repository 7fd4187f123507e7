"""Requests with a reply to learn, for R1's non-reasoning data: Alpaca, Dolly, chats, translations.

R1's 200,000 of them are writing, factual questions, self-cognition and translation (§2.3.3).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from data_recipes.builders.formats.built import Built
from data_recipes.builders.formats.fields import any_text, optional, text
from data_recipes.builders.formats.general import conversation, spoken
from data_recipes.errors import DataError
from data_recipes.fields import MISSING, Row, look_up, show

TO = {"zh": "把下面的句子翻译成中文：\n\n", "en": "Translate this sentence into English:\n\n"}


def from_alpaca(where: str, row: Row) -> Built:
    """Alpaca, BELLE, COIG and others: instruction, input, output."""
    return _asked(text(where, row, "instruction"), optional(where, row, "input"), text(where, row, "output"))


def from_dolly(where: str, row: Row) -> Built:
    """Dolly: instruction, context, response."""
    return _asked(
        text(where, row, "instruction"), optional(where, row, "context"), text(where, row, "response")
    )


def from_replies(where: str, row: Row) -> Built:
    """Any rows with prompt, question or input, and completion, response, answer or target."""
    reply = any_text(where, row, ("completion", "response", "answer", "target"))
    return _asked(any_text(where, row, ("prompt", "question", "input")), None, reply)


def from_messages(where: str, row: Row) -> Built:
    """Chats of OpenAI's messages or ShareGPT's conversations; the last reply is learnt (no_robots, Tulu 3)."""
    name = "messages" if look_up(row, "messages") is not MISSING else "conversations"
    said = spoken(where, row, name)
    if said[-1].role != "assistant" or not said[-1].content:
        raise DataError(f"{where}: {name} does not end with a reply of the assistant")
    return replace(conversation(where, name, said[:-1]), completion=said[-1].content)


def from_translations(where: str, row: Row) -> Built:
    """OPUS-100 and others: translation with en and zh; a hash of the sentence decides the direction."""
    pair = look_up(row, "translation")
    if not isinstance(pair, dict):
        raise DataError(f"{where}: translation = {show(pair)}; expected an object with en and zh")
    both = {language: text(where, pair, language) for language in ("en", "zh")}
    to = "zh" if hashlib.sha256(both["en"].encode()).digest()[0] % 2 else "en"
    given = both["en" if to == "zh" else "zh"]
    return Built("general", f"{TO[to]}{given}", completion=both[to])


def _asked(question: str, context: str | None, reply: str) -> Built:
    return Built("general", question if context is None else f"{question}\n\n{context}", completion=reply)
