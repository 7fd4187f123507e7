"""Turns rows into SFT examples: token ids and a mask of the tokens that are learnt. torch is not imported.

    examples, counts = read_examples(config.data, load_tokenizer(folder), max_tokens=32768)

    prompt / earlier turns │ reply, end of turn │ next user turn │ reply, end of turn
            –              │   learnt           │       –        │   learnt

A reply is learnt after exactly the tokens that the policy would get to sample it: prompt and reply are encoded
separately, as in a rollout. An assistant turn continues the sequence of the previous turn if its prompt begins with
that sequence; otherwise (a template that drops earlier reasoning) it becomes a separate example.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as default
from itertools import islice

import numpy as np

from data_recipes.bad_rows import BadRows
from data_recipes.chat import (
    ChatKeys,
    read_chat,
    refuse_unread,
    spoken_reply,
    to_messages,
    with_system,
)
from data_recipes.config import source_name
from data_recipes.errors import DataError
from data_recipes.fields import ArrowRow, Row, field, show
from data_recipes.fim import draw_cut, fim_tokens, psm
from data_recipes.prompts.datasets import check_known, with_context
from data_recipes.prompts.rows import PeekedRows
from data_recipes.sft.config import SftSource
from data_recipes.shapes import CHAT, QUESTIONS, Layout, kind_of, recognise
from data_recipes.templates import check_template, opened_think, render, render_chat
from data_recipes.unwritten import refuse_unwritten
from policies.errors import PolicyError
from policies.json_types import JsonDict, JsonMapping
from policies.tokenizer import Tokenizer

OR_CHAT = ', or format = "chat" for conversations'


@dataclass(frozen=True)
class Example:
    """One training sequence."""

    id: str
    """The location of its row: file and line."""
    token_ids: np.ndarray
    """(L,) int32 tokens."""
    is_target: np.ndarray
    """(L,) bool, True for tokens that are learnt; never the first, which no hidden state predicts."""

    @property
    def target_count(self) -> int:
        """Number of learnt tokens, ≥ 1."""
        return int(self.is_target.sum())


@dataclass
class ReadCounts:
    """Counts of rows that were read from one or several sources, and of those left out."""

    rows: int = 0
    bad_rows: list[str] = default(default_factory=list)
    """One message per bad row, which begins with file and line."""
    too_long: int = 0
    """Number of examples above the length limit."""
    layouts: list[str] = default(default_factory=list)
    """How the rows of each source were read, for the screen."""


@dataclass(frozen=True)
class _Turn:
    prompt_ids: list[int]
    reply_ids: list[int]


def read_examples(
    config: SftSource, tokenizer: Tokenizer, max_tokens: int, counts: ReadCounts | None = None
) -> tuple[list[Example], ReadCounts]:
    """Read all examples of a source, in its order, and count rows and bad rows.

    Args:
        config: the source, from a recipe.
        tokenizer: the policy's tokenizer.
        max_tokens: longer examples are left out and counted; a truncated reply would teach the policy not to end.
        counts: counts to add to; None creates new ones.

    Raises:
        DataError: there is no source, or with bad_rows = "error" a row cannot be used; the message names file and line.
    """
    counts = ReadCounts() if counts is None else counts
    bad = BadRows()
    examples: list[Example] = []
    peeked = PeekedRows(config.rows)
    layout = layout_of(config, peeked.first)
    encoder = _Encoder(config, tokenizer, layout)

    def unreadable(error: DataError) -> None:
        counts.rows += 1
        bad.add(error)

    for where, row in islice(peeked.read(unreadable), config.limit):
        counts.rows += 1
        with bad.caught():
            made = encoder.examples(where, row)
            fitting = [e for e in made if len(e.token_ids) <= max_tokens]
            counts.too_long += len(made) - len(fitting)
            examples += fitting
    bad.settle(config.bad_rows, source_name(config.source))
    counts.bad_rows += bad.problems
    template = template_of(config, layout)
    rendered = f"template {template}" if template else "prompts rendered already"
    counts.layouts.append(f"{source_name(config.source)}: {layout.show()}; {rendered}")
    return examples, counts


class _Encoder:
    """Encodes the rows of one source as examples."""

    def __init__(self, config: SftSource, tokenizer: Tokenizer, layout: Layout) -> None:
        self._config, self._tokenizer, self._fields = config, tokenizer, layout.fields
        self._layout = layout
        self._keys = ChatKeys(config.tools_field, config.template_fields, config.chat_template_kwargs)
        self._template = template_of(config, layout)
        is_chat = self._template == "chat"
        if is_chat and not tokenizer.has_chat_template:
            raise DataError(
                f'{tokenizer.folder}: no chat template; use format = "columns" with template = "r1-zero" or "plain"'
            )
        if is_chat:
            check_template("chat", tokenizer, config.prefill)
        self._end_ids = turn_end(tokenizer) if is_chat else [_eos(tokenizer)]
        self._end = tokenizer.decode(self._end_ids, skip_special=False)
        self._ends = {*tokenizer.stop_token_ids, *self._end_ids[-1:]}
        if config.fim is not None and is_chat:
            raise DataError(
                f"{source_name(config.source)}: fim cuts documents, and these rows are conversations or get the chat "
                'template; set template = "plain" or leave fim out'
            )
        self._fim = None if config.fim is None else fim_tokens(tokenizer)
        self._replacements = [(re.compile(pattern), text) for pattern, text in config.replace]

    def examples(self, where: str, row: Row) -> list[Example]:
        """Return one example of a row of columns, or one or more of a conversation."""
        turns = self._turns(where, row)
        sequences = join_turns([(t.prompt_ids, t.reply_ids) for t in turns])
        return [
            Example(
                id=where if len(sequences) == 1 else f"{where}, part {number}",
                token_ids=np.array(ids, dtype=np.int32),
                is_target=np.array(mask, dtype=bool),
            )
            for number, (ids, mask) in enumerate(sequences, 1)
        ]

    def _turns(self, where: str, row: Row) -> list[_Turn]:
        if "messages" in self._fields:
            name = self._fields["messages"]
            value = field(where, row, "messages_field", name)
            return self._chat(where, row, name, value)
        prompt = field(where, row, "prompt_field", self._fields["prompt"], OR_CHAT)
        reply = field(where, row, "completion_field", self._fields["completion"], OR_CHAT)
        if kind_of(prompt) in CHAT or kind_of(reply) in CHAT:
            from_arrow = isinstance(row, ArrowRow)
            both = (
                _conversation(where, self._fields["prompt"], prompt, "user", from_arrow),
                _conversation(where, self._fields["completion"], reply, "assistant", from_arrow),
            )
            return self._chat(
                where, row, self._fields["completion"], [m for part in both for m in part], len(both[0])
            )
        return self._columns(where, row, prompt, reply)

    def _columns(self, where: str, row: Row, prompt: object, reply: object) -> list[_Turn]:
        config = self._config
        prompt = _text(where, self._fields["prompt"], prompt)
        reply = _text(where, self._fields["completion"], reply)
        if self._template is None:
            prefill = row.get("prefill")
            own = prefill if isinstance(prefill, str) else ""
            turn = self._turn(where, prompt, encode_prompt(self._tokenizer, prompt), reply, own)
            return [self._infilled(where, prompt, reply) or turn]
        question = with_context(where, row, self._layout, prompt)
        if self._template == "chat":
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
            return self._chat(where, row, self._fields["prompt"], messages)
        refuse_unread(where, row, self._keys, self._template)
        rendered = render(
            self._template, question, self._tokenizer, prefill=config.prefill, preamble=config.preamble
        )
        ids = self._tokenizer.encode(rendered.text, add_special_tokens=rendered.add_special_tokens)
        turn = self._turn(where, rendered.text, ids, reply, rendered.prefill)
        return [self._infilled(where, rendered.text, reply) or turn]

    def _infilled(self, where: str, prompt: str, reply: str) -> _Turn | None:
        """Return the row as fill in the middle, if it is one of the share; its middle is learnt, and its end."""
        if self._fim is None or self._config.fim is None:
            return None
        document = prompt + self._replaced(reply)
        cut = draw_cut(self._config.fim, document, document, self._tokenizer)
        if cut is None:
            return None
        try:
            given, middle = psm(self._fim, self._tokenizer, cut)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        return _Turn([*encode_prompt(self._tokenizer, ""), *given], [*middle, *self._end_ids])

    def _replaced(self, reply: str) -> str:
        for pattern, text in self._replacements:
            reply = pattern.sub(text, reply)
        return reply

    def _chat(self, where: str, row: Row, name: str, value: object, first: int = 0) -> list[_Turn]:
        """Encode the assistant's turns of a conversation, from the message `first` on."""
        chat = read_chat(where, row, name, value, self._keys, self._tokenizer)
        chat = with_system(chat, self._config.system)
        refuse_unwritten(where, name, chat.messages, chat.variables, self._tokenizer)
        first += len(chat.messages) - (len(value) if isinstance(value, list) else 0)
        roles = [m["role"] for m in chat.messages]
        if "assistant" not in roles:
            raise DataError(f"{where}: {name} has no assistant turn (roles: {', '.join(roles)})")
        if roles[0] == "assistant":
            raise DataError(f"{where}: {name} begins with the assistant: its first turn has no prompt")
        turns = []
        for index, message in enumerate(chat.messages):
            if index < first or message["role"] != "assistant" or not _is_learnt(where, name, index, message):
                continue
            try:
                rendered = render_chat(
                    chat.messages[:index], self._tokenizer, self._config.prefill, **chat.variables
                )
            except (PolicyError, DataError) as error:
                raise DataError(f"{where}: {error}") from error
            ids = self._tokenizer.encode(rendered.text)
            reply = spoken_reply(where, name, chat, index, rendered.text, self._end, self._tokenizer)
            turns.append(self._turn(where, rendered.text, ids, reply, rendered.prefill))
        if not turns:
            raise DataError(f"{where}: {name} has no assistant turn to learn: every weight is 0")
        return turns

    def _turn(self, where: str, prompt: str, prompt_ids: list[int], reply: str, prefill: str = "") -> _Turn:
        """Check and encode one reply, without a `prefill` that both ends the prompt and begins the reply."""
        reply = self._replaced(reply)
        if prefill and prompt.endswith(prefill) and reply.startswith(prefill):
            reply = reply.removeprefix(prefill)
        else:
            reply = without_opened_think(prompt, reply)
        if not reply.strip():
            raise DataError(f"{where}: nothing is left of the completion; delete the row or fix replace")
        if not prompt_ids:
            raise DataError(
                f"{where}: the prompt has no tokens, so the first token of the completion cannot be predicted"
            )
        check_known(where, prompt, tuple(prompt_ids), self._tokenizer)
        reply_ids = self._tokenizer.encode(reply)
        check_known(where, reply, tuple(reply_ids), self._tokenizer)
        if ends := self._ends.intersection(reply_ids):
            token = self._tokenizer.decode([min(ends)], skip_special=False)
            raise DataError(
                f"{where}: the completion contains {token!r}, which ends a reply; delete it (the end is added), or "
                "remove it with replace"
            )
        return _Turn(prompt_ids, [*reply_ids, *self._end_ids])


def join_turns(turns: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[tuple[list[int], list[bool]]]:
    """Join the (prompt, reply) token ids of a conversation's assistant turns into (token ids, learnt) sequences."""
    sequences: list[tuple[list[int], list[bool]]] = []
    for prompt, reply in turns:
        ids, mask = sequences[-1] if sequences else ([], [])
        if not sequences or list(prompt[: len(ids)]) != ids:
            ids, mask = [], []
            sequences.append((ids, mask))
        mask += [False] * (len(prompt) - len(ids)) + [True] * len(reply)
        ids += [*prompt[len(ids) :], *reply]
    return sequences


def encode_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a rendered prompt; the tokenizer adds its begin token unless the text has it."""
    bare = tokenizer.encode(text)
    if bare[:1] == [tokenizer.bos_id]:
        return bare
    return tokenizer.encode(text, add_special_tokens=True)


def turn_end(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that end an assistant turn.

    They are the chat template's tokens after the turn, up to the first token that ends a reply, or the end-of-text
    token if the template writes no such token.
    """
    reply = "reply"
    conversation = [{"role": "user", "content": "question"}, {"role": "assistant", "content": reply}]
    text = tokenizer.apply_chat_template(conversation, add_generation_prompt=False)
    ids = tokenizer.encode(text[text.rfind(reply) + len(reply) :])
    for index, token in enumerate(ids):
        if token in tokenizer.stop_token_ids:
            return ids[: index + 1]
    return [_eos(tokenizer)]


def without_opened_think(prompt: str, reply: str) -> str:
    """Remove the reply's leading `<think>` if the prompt (its template or prefill) ends with one."""
    opened = opened_think(prompt)
    if not opened:
        return reply
    if reply.startswith(opened):
        return reply[len(opened) :]
    start = reply.lstrip()
    return start.removeprefix("<think>") if start.startswith("<think>") else reply


def layout_of(config: SftSource, first: Sequence[Row]) -> Layout:
    """Return which fields hold prompt and reply, or the conversation.

    Raises:
        DataError: no shape or several fit.
    """
    given = dict(config.given)
    if config.format == "chat" and "messages" not in given:
        given["messages"] = (
            "messages" if any("messages" in row for row in first) or not first else "conversations"
        )
        if not any(given["messages"] in row for row in first):
            given["messages"] = "messages"
    if config.format == "columns" and not given:
        names = [name for name in QUESTIONS if any(name in row for row in first)]
        given["prompt"] = names[0] if len(names) == 1 else "prompt"
    return recognise("examples", first, given, source_name(config.source))


def template_of(config: SftSource, layout: Layout) -> str | None:
    """Return the template of prompts; None if they are rendered already.

    Raises:
        DataError: the rows are conversations, and the recipe names another template than the chat template.
    """
    is_chat = "messages" in layout.fields or bool(CHAT & set(layout.kinds.values()))
    if is_chat and config.template not in (None, "chat"):
        raise DataError(
            f"{source_name(config.source)}: {layout.show()}: conversations are rendered by the chat template, not by "
            f"{config.template!r}; remove template"
        )
    if config.template is None and (is_chat or layout.is_question):
        return "chat"
    return config.template


def _conversation(where: str, name: str, value: object, role: str, from_arrow: bool) -> list[JsonDict]:
    """Return messages as they are, and text as one message of the role."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return to_messages(where, name, value, from_arrow)


def _is_learnt(where: str, name: str, index: int, message: JsonMapping) -> bool:
    """Return False for a turn of weight 0, as OpenAI's fine-tuning files have it."""
    weight = message.get("weight", 1)
    if weight not in (0, 1):
        raise DataError(f"{where}: {name}[{index}].weight = {show(weight)}; expected 0 or 1")
    return bool(weight)


def _text(where: str, name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name} = {show(value)}; expected text")
    return value


def _eos(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_id is None:
        raise DataError(
            f"{tokenizer.folder}: the tokenizer has no end-of-text token, so no reply would have an end; "
            "set eos_token in tokenizer_config.json"
        )
    return tokenizer.eos_id
