"""Turns a data set into prompts. The error of a row that cannot be used names file, line, field, value and a fix.

    prompts = load_prompts(config.data, load_tokenizer(folder))

A missing reference answer, a repeated question or a word that the tokenizer does not know is an error here, before an
engine starts, because training would continue silently with it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from data_recipes.bad_rows import BadRows
from data_recipes.chat import (
    Chat,
    ChatKeys,
    read_chat,
    refuse_unread,
    template_variables,
    to_messages,
    with_system,
)
from data_recipes.config import AUTO, DatasetConfig, source_kind, source_name, sources_of
from data_recipes.errors import DataError
from data_recipes.fields import MISSING, ArrowRow, Row, field, look_up, show
from data_recipes.prompts.answers import to_reference
from data_recipes.prompts.rows import PeekedRows
from data_recipes.shapes import CHAT, Layout, kind_of, recognise
from data_recipes.templates import Rendered, check_template, render, render_chat
from data_recipes.unwritten import refuse_unwritten
from policies.errors import PolicyError
from policies.json_types import JsonDict
from policies.tokenizer import Tokenizer
from rewards.code.tests import TEST_COLUMNS
from rollout.types import Prompt, prompt_id

_THOUSANDS = re.compile(r"[-+]?\$?\d{1,3}(,\d{3})+(\.\d+)?")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedPrompts:
    """The prompts of a data set, and how its rows were read."""

    prompts: list[Prompt]
    layout: Layout
    template: str
    """"r1-zero", "chat" or "plain"."""
    source: str
    """Name of the data set."""


@dataclass(frozen=True)
class _Asked:
    """What a row asks the policy."""

    question: str
    """The question as text; of a conversation, the user's last message."""
    rendered: Rendered
    reply: str | None = None
    """The assistant's turn that a conversation ends with; it is no part of the prompt."""
    chat: Chat | None = None
    """The conversation, where it is more than the question."""


def load_prompts(config: DatasetConfig, tokenizer: Tokenizer) -> list[Prompt]:
    """Read, check and render a whole data set; see `read_prompts`."""
    return read_prompts(config, tokenizer).prompts


def read_prompts(config: DatasetConfig, tokenizer: Tokenizer) -> LoadedPrompts:
    """Read, check and render a whole data set.

    Args:
        config: the `[data]` section of a recipe.
        tokenizer: the policy's tokenizer.

    Returns:
        Prompts with different ids, in the data set's order. Their columns are "question" (raw) and the row's other
        fields.

    Raises:
        DataError: there is no prompt, or the shape of the rows is not known; or rows cannot be used and `bad_rows` is
            not "skip". The message names the first ones and their number.
    """
    prompts: list[Prompt] = []
    first_location: dict[str, str] = {}
    too_long = dropped = 0
    name = source_name(config.source)
    rows = PeekedRows(config)
    layout = layout_of(config, rows.first)
    is_chat = layout.kinds.get("prompt") in CHAT
    template = config.template if config.template != AUTO else "chat" if is_chat else "r1-zero"
    check_template(template, tokenizer, config.prefill)
    reader = _Reader(config, tokenizer, layout, template)
    bad = BadRows()
    for where, row in islice(rows.read(bad.add), config.limit):
        try:
            prompt = reader.prompt(where, row)
        except DataError as error:
            bad.add(error)
            continue
        if config.max_prompt_tokens is not None and len(prompt.token_ids) > config.max_prompt_tokens:
            too_long += 1
        elif prompt.id not in first_location:
            first_location[prompt.id] = where
            prompts.append(prompt)
        elif config.duplicates == "drop":
            dropped += 1
        else:
            bad.add(
                DataError(
                    f"{where}: same {layout.fields['prompt']} and answer as {first_location[prompt.id]}; "
                    'delete one, or set duplicates = "drop"'
                )
            )
    bad.settle(config.bad_rows, name)
    if too_long or dropped:
        logger.warning(
            "%s: left out %d prompts above %s tokens and %d duplicates, kept %d",
            name, too_long, config.max_prompt_tokens, dropped, len(prompts),
        )  # fmt: skip
    if not prompts:
        hint = "raise max_prompt_tokens" if too_long else "an empty data set trains nothing"
        left_out = f"{too_long} too long" + (f", {bad.count} bad rows" if bad.count else "")
        raise DataError(f"{name}: no prompts ({left_out}); {hint}")
    return LoadedPrompts(prompts, layout, template, name)


def layout_of(config: DatasetConfig, first: Sequence[Row]) -> Layout:
    """Return which fields hold prompt and answer: as the recipe's keys say, else by the shape of the first rows.

    Raises:
        DataError: no shape or several fit.
    """
    given = {"prompt": config.prompt_field, "answer": config.answer_field}
    fields = {role: name for role, name in given.items() if name not in (None, AUTO)}
    without = ("answer",) if config.answer_field is None else ()
    if source_kind(sources_of(config.source)[0]) in ("procedural", "gym"):
        fixed = {"prompt": "question", "answer": "answer"} | fields
        return Layout(str(config.source), {r: n for r, n in fixed.items() if n and r not in without}, {})
    named = {role: name for role, name in fields.items() if name is not None}
    return recognise("prompts", first, named, source_name(config.source), without)


class _Reader:
    """Turns the rows of one data set into prompts."""

    def __init__(self, config: DatasetConfig, tokenizer: Tokenizer, layout: Layout, template: str) -> None:
        self._config, self._tokenizer, self._template = config, tokenizer, template
        self._layout, self._source = layout, source_name(config.source)
        self._keys = ChatKeys(config.tools_field, config.template_fields, config.chat_template_kwargs)

    def prompt(self, where: str, row: Row) -> Prompt:
        """Check one row and render it.

        Raises:
            DataError: as `read_prompts`; the message begins with `where`.
        """
        config, fields = self._config, self._layout.fields
        value = field(where, row, "prompt_field", fields["prompt"])
        try:
            asked = self._chat(where, row, value) if kind_of(value) in CHAT else self._text(where, row, value)
        except PolicyError as error:  # the chat template rejects the messages
            raise DataError(f"{where}: {error}") from error
        answer: object = asked.reply if config.answer_field == AUTO else None
        if "answer" in fields:
            answer = _answer(where, row, fields["answer"], config.answer_pattern)
        rendered = asked.rendered
        token_ids = tuple(
            self._tokenizer.encode(rendered.text, add_special_tokens=rendered.add_special_tokens)
        )
        check_known(where, rendered.text, token_ids, self._tokenizer)
        return Prompt(
            id=prompt_id(self._source, rendered.text, answer),
            text=rendered.text,
            token_ids=token_ids,
            answer=answer,
            columns=self._columns(where, row, asked.question),
            source=self._source,
            prefill=rendered.prefill,
            messages=asked.chat.messages if asked.chat is not None else (),
            tools=tuple(asked.chat.variables.get("tools") or ()) if asked.chat is not None else (),
        )

    def _text(self, where: str, row: Row, question: object) -> _Asked:
        config, tokenizer, name = self._config, self._tokenizer, self._layout.fields["prompt"]
        if not isinstance(question, str) or not question.strip():
            raise DataError(
                f"{where}: {name} = {show(question)}; expected the question as text or messages "
                "(another field: set prompt_field)"
            )
        question = with_context(where, row, self._layout, question)
        if self._template == "chat":
            variables = template_variables(where, row, self._keys, tokenizer)
            chat = Chat(({"role": "user", "content": question},), variables)
            return _Asked(question, self._render(where, chat))
        refuse_unread(where, row, self._keys, self._template)
        rendered = render(
            self._template, question, tokenizer, prefill=config.prefill, preamble=config.preamble
        )
        return _Asked(question, rendered)

    def _chat(self, where: str, row: Row, value: object) -> _Asked:
        name = self._layout.fields["prompt"]
        if self._template != "chat":
            messages = to_messages(where, name, value, isinstance(row, ArrowRow))
            if [message["role"] for message in messages] != ["user"]:
                roles = ", ".join(message["role"] for message in messages)
                raise DataError(
                    f"{where}: {name} has the messages {roles}; template = {self._template!r} takes one of the user "
                    'alone: set template = "chat"'
                )
            return self._text(where, row, messages[0]["content"])
        chat = read_chat(where, row, name, value, self._keys, self._tokenizer)
        messages, reply = list(chat.messages), None
        if messages[-1]["role"] == "assistant":
            if name.rpartition(".")[2] == "prompt" or len(messages) == 1:
                raise DataError(
                    f"{where}: {name} ends with the assistant's turn, and nothing is left to ask; delete the turn"
                )
            reply = str(messages.pop()["content"])
        users = [str(message["content"]) for message in messages if message["role"] == "user"]
        asked = Chat(tuple(messages), chat.variables)
        is_more = len(messages) > 1 or bool(asked.variables.get("tools"))
        question = users[-1] if users else ""
        return _Asked(question, self._render(where, asked), reply, asked if is_more else None)

    def _render(self, where: str, chat: Chat) -> Rendered:
        chat = with_system(chat, self._config.system)
        name = self._layout.fields["prompt"]
        refuse_unwritten(where, name, chat.messages, chat.variables, self._tokenizer)
        try:
            return render_chat(chat.messages, self._tokenizer, self._config.prefill, **chat.variables)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    def _columns(self, where: str, row: Row, question: str) -> JsonDict:
        config, fields = self._config, self._layout.fields
        taken = {fields["prompt"], *config.columns.values()}
        if fields.get("answer") == "answer":
            taken.add("answer")  # under another name it stays: a reward may ask for `solution`
        columns = {name: value for name, value in row.items() if name not in taken}
        columns.setdefault("question", question)
        for new, name in config.columns.items():
            columns[new] = field(where, row, f"columns.{new}", name)
        for name, value in config.constants.items():
            if name in columns:
                raise DataError(
                    f"{where}: already has {name} = {show(columns[name])}; remove constants.{name}"
                )
            columns[name] = value
        return columns


def with_context(where: str, row: Row, layout: Layout, question: str) -> str:
    """Return the question with the field that some rows have beside it, Alpaca's input, a blank line between."""
    context = look_up(row, layout.fields["context"]) if "context" in layout.fields else None
    if context is None or context is MISSING or context == "":
        return question
    if not isinstance(context, str):
        raise DataError(f"{where}: {layout.fields['context']} = {show(context)}; expected text")
    return f"{question}\n\n{context}"


def _answer(where: str, row: Row, name: str, pattern: str | None) -> object:
    value = field(where, row, "answer_field", name)
    if value is None and any(row.get(column) for column in TEST_COLUMNS):
        return (
            None  # a program is judged by its tests; a reward that compares answers is refused for such rows
        )
    if kind_of(value) in CHAT and isinstance(value, list):
        value = to_messages(where, name, value, isinstance(row, ArrowRow))[-1]["content"]
    value = to_reference(where, name, value)
    if pattern is None:
        return value
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} = {show(value)}: answer_pattern needs text")
    match = re.search(pattern, value)
    if match is None or not (match.group(1) or "").strip():
        raise DataError(f"{where}: {name}: answer_pattern {pattern!r} finds nothing in {show(value[-80:])}")
    return strip_thousands(match.group(1).strip())


def strip_thousands(text: str) -> str:
    """Remove the thousands separators of a number ("1,080" → "1080"); other texts stay as they are."""
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def check_known(where: str, text: str, token_ids: tuple[int, ...], tokenizer: Tokenizer) -> None:
    """Check that the tokenizer knows a whole text.

    Raises:
        DataError: there is no token, or the unknown token is among them.
    """
    if not token_ids:
        raise DataError(f"{where}: the prompt has no tokens")
    unknown = tokenizer.special_tokens.get("unk_token")
    others = {token for name, token in tokenizer.special_tokens.items() if name != "unk_token"}
    # Several tokenizers declare their end-of-text token as the unknown token and never use it as such.
    if unknown is None or unknown in others or unknown in text:
        return
    unknown_id = tokenizer.token_id(unknown)
    if unknown_id is not None and unknown_id in token_ids:
        pieces = ", ".join(show(piece, 40) for piece in dict.fromkeys(tokenizer.pieces_of(text, unknown_id)))
        raise DataError(
            f"{where}: the tokenizer of {tokenizer.folder} does not know {pieces} in {show(text[-80:])}; "
            f"the policy would read {unknown}: choose a policy with a larger vocabulary"
        )
