"""From a question to the text that the policy continues.

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
"""DeepSeek-R1 (2501.12948), Table 1, word for word; the question takes the place of `prompt`."""


@dataclass(frozen=True)
class Rendered:
    """A prompt's text and how it becomes tokens."""

    text: str
    """What the policy reads, prefill included."""
    add_special_tokens: bool
    """True if the tokenizer adds its own (a BOS); a chat template has written them already."""


def render(
    template: str,
    question: str,
    tokenizer: Tokenizer,
    system: str | None = None,
    prefill: str = "",
    preamble: str = "",
) -> Rendered:
    """Put a question into a template.

    Args:
        template: "r1-zero", "chat" or "plain".
        question: the task in words.
        tokenizer: read by "chat" alone, for its chat template.
        system: system message, "chat" alone.
        prefill: text put at the start of the assistant's turn.
        preamble: text in front of the question, "plain" alone.

    Raises:
        DataError: "chat" with a tokenizer that has no chat template, take another.
        PolicyError: the chat template refuses the messages.
        ValueError: unknown template.
    """
    if template == "r1-zero":
        return Rendered(R1_ZERO.replace("{prompt}", question) + prefill, True)
    if template == "plain":
        return Rendered(preamble + question + prefill, True)
    if template == "chat":
        return Rendered(_chat(question, tokenizer, system) + prefill, False)
    raise ValueError(f"unknown template {template!r}; there are r1-zero, chat, plain")


def check_template(template: str, tokenizer: Tokenizer) -> None:
    """Refuse a template that the tokenizer does not have.

    Raises:
        DataError: "chat", and no chat template.
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
