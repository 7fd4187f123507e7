"""Renders a question as the text that the policy continues.

render("r1-zero", "7 * 4 + 3", tokenizer)  →  Rendered("A conversation … User: 7 * 4 + 3. Assistant:", True)
"""

from __future__ import annotations

from dataclasses import dataclass

from data_recipes.errors import DataError
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


@dataclass(frozen=True)
class Rendered:
    """A prompt's text and how it is tokenized."""

    text: str
    """The text that the policy reads, prefill included."""
    add_special_tokens: bool
    """True if the tokenizer adds its special tokens (BOS); a chat template has written them already."""


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
        DataError: the template is "chat" and the tokenizer has none.
        PolicyError: the chat template rejects the messages.
        ValueError: the template is unknown.
    """
    if template == "r1-zero":
        return Rendered(R1_ZERO.replace("{prompt}", question) + prefill, True)
    if template == "plain":
        return Rendered(preamble + question + prefill, True)
    if template == "chat":
        return Rendered(_chat(question, tokenizer, system) + prefill, False)
    raise ValueError(f"unknown template {template!r}; there are r1-zero, chat, plain")


def check_template(template: str, tokenizer: Tokenizer) -> None:
    """Check that the tokenizer has the template.

    Raises:
        DataError: the template is "chat" and the tokenizer has none.
    """
    if template == "chat" and not tokenizer.has_chat_template:
        raise DataError(
            f'{tokenizer.folder}: no chat template; take template = "r1-zero" or "plain" for a base model'
        )


def _chat(question: str, tokenizer: Tokenizer, system: str | None) -> str:
    check_template("chat", tokenizer)
    messages = [{"role": "user", "content": question}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True)
