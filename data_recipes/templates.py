"""Renders a question as the text that the policy continues.

render("r1-zero", "7 * 4 + 3", tokenizer)  →  Rendered("A conversation … User: 7 * 4 + 3. Assistant:", True, "")
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from data_recipes.errors import DataError
from policies.errors import PolicyError
from policies.json_types import JsonMapping
from policies.tokenizer import Tokenizer

R1_ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. "
    "The assistant first thinks about the reasoning process in the mind and then provides the user with the "
    "answer. "
    "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
    "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
    "User: {prompt}. Assistant:"
)
"""The template of DeepSeek-R1 (2501.12948), Table 1, verbatim; `prompt` is replaced by the question."""


_OPENED = re.compile(r"<think>\s*\Z")
_PROBE = "reply-probe"


@dataclass(frozen=True)
class Rendered:
    """A prompt's text and how it is tokenized."""

    text: str
    """The text that the policy reads, prefill included."""
    add_special_tokens: bool
    """True if the tokenizer adds its special tokens (BOS); a chat template has written them already."""
    prefill: str = ""
    """The end of `text` that is the start of the reply: what the template writes into the assistant's turn
    (`<think>`), then the recipe's prefill. Rewards read it with the reply."""


def render(
    template: str,
    question: str,
    tokenizer: Tokenizer,
    system: str | None = None,
    prefill: str = "",
    preamble: str = "",
) -> Rendered:
    """Render a question with a template.

    Args:
        template: "r1-zero", "chat" or "plain".
        question: the question as text.
        tokenizer: source of the chat template; only "chat" reads it.
        system: system message, only for "chat".
        prefill: text put at the start of the assistant's turn.
        preamble: text before the question, only for "plain".

    Raises:
        DataError: the template is "chat" and the tokenizer has none, or prefill opens a `<think>` that is open.
        PolicyError: the chat template rejects the messages.
        ValueError: the template is unknown.
    """
    if template == "r1-zero":
        return with_prefill(R1_ZERO.replace("{prompt}", question), "", prefill, add_special_tokens=True)
    if template == "plain":
        text = preamble + question
        return with_prefill(text, opened_think(text), prefill, add_special_tokens=True)
    if template == "chat":
        messages = [{"role": "user", "content": question}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        return render_chat(messages, tokenizer, prefill)
    raise ValueError(f"unknown template {template!r}; there are r1-zero, chat, plain")


def render_chat(
    messages: Sequence[JsonMapping], tokenizer: Tokenizer, prefill: str = "", **variables: object
) -> Rendered:
    """Render a conversation with the chat template, up to where the assistant's turn begins.

    Args:
        messages: the conversation, without the reply.
        tokenizer: source of the chat template.
        prefill: text put at the start of the assistant's turn.
        variables: further variables of the template, e.g. `tools` and `enable_thinking`.

    Raises:
        DataError: the tokenizer has no chat template, or prefill opens a `<think>` that the template has opened.
        PolicyError: the chat template rejects the messages.
    """
    check_template("chat", tokenizer)
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **variables)
    own = template_prefill(messages, tokenizer, text, **variables)
    return with_prefill(text, own, prefill, add_special_tokens=False)


def with_prefill(text: str, own: str, prefill: str, *, add_special_tokens: bool) -> Rendered:
    """Return the prompt with a prefill behind it; `own` is the part of the text that is in the reply already.

    Raises:
        DataError: the reply begins with a `<think>` and the prefill has a second one.
    """
    if "<think>" in prefill and "<think>" in own:
        rest = prefill.partition("<think>")[2].lstrip()
        raise DataError(
            f"prefill = {prefill!r}: the template begins the reply with {own!r} already, and the policy would read two "
            f"<think>; {f'set prefill = {rest!r}' if rest else 'remove prefill'}"
        )
    return Rendered(text + prefill, add_special_tokens, own + prefill)


def template_prefill(
    messages: Sequence[JsonMapping], tokenizer: Tokenizer, text: str, **variables: object
) -> str:
    """Return what a chat template writes into the assistant's turn for the policy to continue, e.g. "<think>\\n".

    It is found by rendering: the generation prompt (what add_generation_prompt adds) is compared with the text that
    the template writes before a reply. Where they part, or at a `<think>`, the reply begins; white space is none.

    Args:
        messages: the conversation without the reply.
        tokenizer: source of the chat template.
        text: the conversation rendered with the generation prompt.
        variables: further variables of the template.

    Raises:
        PolicyError: the chat template rejects the messages.
    """
    closed = tokenizer.apply_chat_template(messages, add_generation_prompt=False, **variables)
    if not text.startswith(closed) or closed == text:
        return opened_think(text)
    added = text[len(closed) :]
    starts = (_reply_start(messages, tokenizer, closed, added, variables), added.find("<think>"))
    found = added[min((at for at in starts if at >= 0), default=len(added)) :]
    return found if found.strip() else ""


def _reply_start(
    messages: Sequence[JsonMapping],
    tokenizer: Tokenizer,
    closed: str,
    added: str,
    variables: JsonMapping,
) -> int:
    """Return where the generation prompt goes on past the header that the template writes before a reply, or -1."""
    reply = {"role": "assistant", "content": _PROBE}
    try:
        whole = tokenizer.apply_chat_template([*messages, reply], add_generation_prompt=False, **variables)
    except PolicyError:  # e.g. a template that wants something else of an assistant's turn
        return -1
    header, found, _ = whole[len(closed) :].rpartition(_PROBE)
    if not found or not header or not whole.startswith(closed) or not added.startswith(header):
        return -1
    return len(header)


def opened_think(text: str) -> str:
    """Return the `<think>` at the end of a text, with the white space after it; "" if there is none."""
    found = _OPENED.search(text)
    return found.group() if found else ""


def check_template(template: str, tokenizer: Tokenizer, prefill: str = "") -> None:
    """Check that the tokenizer has the template, and that it does not begin the reply as the prefill does.

    Raises:
        DataError: the template is "chat" and the tokenizer has none, or the policy would read two `<think>`.
    """
    if template == "chat" and not tokenizer.has_chat_template:
        raise DataError(
            f'{tokenizer.folder}: no chat template; take template = "r1-zero" or "plain" for a base model'
        )
    if template == "chat" and prefill:
        with suppress(PolicyError):  # of the probe, which the rows need not be like
            render_chat([{"role": "user", "content": "question"}], tokenizer, prefill)
