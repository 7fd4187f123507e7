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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from data_recipes.bad_rows import BadRows
from data_recipes.errors import DataError
from data_recipes.prompts.datasets import check_known
from data_recipes.prompts.rows import read_rows, show
from data_recipes.sft.config import SftSource
from data_recipes.templates import check_template, opened_think, render, render_chat
from policies.errors import PolicyError
from policies.json_types import JsonMapping
from policies.tokenizer import Tokenizer

ROLES = ("system", "developer", "user", "assistant", "tool", "function", "ipython")
"""Roles that messages may have. Any other role is a typing error ("asistant" would be read and never learnt) or from
another format (ShareGPT's human and gpt)."""


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
    bad_rows: list[str] = field(default_factory=list)
    """One message per bad row, which begins with file and line."""
    too_long: int = 0
    """Number of examples above the length limit."""


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
    encoder = _Encoder(config, tokenizer)

    def unreadable(error: DataError) -> None:
        counts.rows += 1
        bad.add(error)

    rows = read_rows(config.rows, on_bad=unreadable)
    for where, row in islice(rows, config.limit):
        counts.rows += 1
        with bad.caught():
            made = encoder.examples(where, row)
            fitting = [e for e in made if len(e.token_ids) <= max_tokens]
            counts.too_long += len(made) - len(fitting)
            examples += fitting
    bad.settle(config.bad_rows, config.source)
    counts.bad_rows += bad.problems
    return examples, counts


class _Encoder:
    """Encodes the rows of one source as examples."""

    def __init__(self, config: SftSource, tokenizer: Tokenizer) -> None:
        self._config, self._tokenizer = config, tokenizer
        is_chat = config.format == "chat" or config.template == "chat"
        if is_chat and not tokenizer.has_chat_template:
            raise DataError(
                f'{tokenizer.folder}: no chat template; use format = "columns" with template = "r1-zero" or "plain"'
            )
        if is_chat:
            check_template("chat", tokenizer, config.prefill)
        self._end_ids = turn_end(tokenizer) if is_chat else [_eos(tokenizer)]
        self._ends = {*tokenizer.stop_token_ids, *self._end_ids[-1:]}
        self._replacements = [(re.compile(pattern), text) for pattern, text in config.replace]

    def examples(self, where: str, row: JsonMapping) -> list[Example]:
        """Return one example of a row of columns, or one or more of a conversation."""
        turns = self._chat(where, row) if self._config.format == "chat" else self._columns(where, row)
        sequences = join_turns([(t.prompt_ids, t.reply_ids) for t in turns])
        return [
            Example(
                id=where if len(sequences) == 1 else f"{where}, part {number}",
                token_ids=np.array(ids, dtype=np.int32),
                is_target=np.array(mask, dtype=bool),
            )
            for number, (ids, mask) in enumerate(sequences, 1)
        ]

    def _columns(self, where: str, row: JsonMapping) -> list[_Turn]:
        config = self._config
        prompt = _text(where, row, "prompt_field", config.prompt_field)
        reply = _text(where, row, "completion_field", config.completion_field)
        if config.template is None:
            prefill = row.get("prefill")
            own = prefill if isinstance(prefill, str) else ""
            return [self._turn(where, prompt, encode_prompt(self._tokenizer, prompt), reply, own)]
        try:
            rendered = render(
                config.template,
                prompt,
                self._tokenizer,
                system=config.system,
                prefill=config.prefill,
                preamble=config.preamble,
            )
        except (PolicyError, DataError) as error:
            raise DataError(f"{where}: {error}") from error
        ids = self._tokenizer.encode(rendered.text, add_special_tokens=rendered.add_special_tokens)
        return [self._turn(where, rendered.text, ids, reply, rendered.prefill)]

    def _chat(self, where: str, row: JsonMapping) -> list[_Turn]:
        messages = _messages(where, row, self._config.messages_field)
        if self._config.system is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self._config.system}, *messages]
        turns = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            try:
                rendered = render_chat(messages[:index], self._tokenizer, self._config.prefill)
            except (PolicyError, DataError) as error:
                raise DataError(f"{where}: {error}") from error
            ids = self._tokenizer.encode(rendered.text)
            turns.append(self._turn(where, rendered.text, ids, message["content"], rendered.prefill))
        return turns

    def _turn(self, where: str, prompt: str, prompt_ids: list[int], reply: str, prefill: str = "") -> _Turn:
        """Check and encode one reply, without a `prefill` that both ends the prompt and begins the reply."""
        for pattern, text in self._replacements:
            reply = pattern.sub(text, reply)
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


def _messages(where: str, row: JsonMapping, name: str) -> list[JsonMapping]:
    messages = _field(where, row, "messages_field", name)
    if not isinstance(messages, list) or not messages:
        raise DataError(f"{where}: {name} = {show(messages)}; expected a list of messages")
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not all(
            isinstance(message.get(k), str) for k in ("role", "content")
        ):
            raise DataError(
                f"{where}: {name}[{number}] = {show(message)}; expected a role and a content, both text"
            )
        if message["role"] not in ROLES:
            raise DataError(
                f"{where}: {name}[{number}] has role {message['role']!r}; expected one of {', '.join(ROLES)}"
            )
        if message["role"] == "user" and not message["content"].strip():
            raise DataError(f"{where}: {name}[{number}]: the user's message is empty")
    roles = [m["role"] for m in messages]
    if "assistant" not in roles:
        raise DataError(f"{where}: {name} has no assistant turn (roles: {', '.join(roles)})")
    if roles[0] == "assistant":
        raise DataError(f"{where}: {name} begins with the assistant: its first turn has no prompt")
    return messages


def _text(where: str, row: JsonMapping, key: str, name: str) -> str:
    value = _field(where, row, key, name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: {name} = {show(value)}; expected text")
    return value


def _field(where: str, row: JsonMapping, key: str, name: str) -> object:
    if name not in row:
        raise DataError(
            f"{where}: no field {name!r}; there are {', '.join(map(str, row))} (set {key} to one"
            + (")" if key == "messages_field" else ', or format = "chat" for conversations)')
        )
    return row[name]


def _eos(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_id is None:
        raise DataError(
            f"{tokenizer.folder}: the tokenizer has no end-of-text token, so no reply would have an end; "
            "set eos_token in tokenizer_config.json"
        )
    return tokenizer.eos_id
