"""A recipe's prompt template as a chat template (Jinja), for servers that know chat templates alone.

    chat_template("r1-zero", tokenizer)     renders [{"role": "user", "content": "7 * 4 + 3"}] as `render` does

Rendered and tokenized without special tokens, as chat requests are, it gives the token ids of training.
"""

from __future__ import annotations

import json

from data_recipes.errors import DataError
from data_recipes.templates import R1_ZERO, check_template
from policies.tokenizer import Tokenizer

ONE_TURN = "this policy was trained on single questions: send one message, of the role user"
"""What the server answers to a conversation behind a template that has no turns."""
PROBE = "7 * 4 + 3"
"""A text whose tokens show how the tokenizer adds its special tokens."""


def chat_template(
    template: str, tokenizer: Tokenizer, system: str | None = None, prefill: str = "", preamble: str = ""
) -> str | None:
    """Return the chat template with which a server renders a question as `data_recipes.templates.render` does.

    Args:
        template: "r1-zero", "chat" or "plain".
        tokenizer: the policy's.
        system: with "chat", the system message of conversations that have none.
        prefill: text put at the start of the assistant's turn.
        preamble: with "plain", text before the question.

    Returns:
        None if it is the tokenizer's own.

    Raises:
        DataError: the template is "chat" and the tokenizer has none, or special tokens cannot be written as text.
        ValueError: the template is unknown.
    """
    if template == "chat":
        check_template("chat", tokenizer)
        return None if system is None and not prefill else _conversation(tokenizer, system, prefill)
    if template == "r1-zero":
        before, _, after = R1_ZERO.partition("{prompt}")
    elif template == "plain":
        before, after = preamble, ""
    else:
        raise ValueError(f"unknown template {template!r}; there are r1-zero, chat, plain")
    before = special_prefix(tokenizer, before) + before
    return (
        "{%- if messages | length != 1 or messages[0]['role'] != 'user' -%}"
        f"{{{{- raise_exception({_literal(ONE_TURN)}) -}}}}"
        "{%- endif -%}"
        f"{{{{- {_literal(before)} + messages[0]['content'] + {_literal(after + prefill)} -}}}}"
    )


def special_prefix(tokenizer: Tokenizer, before: str) -> str:
    """Return the text of the special tokens that the tokenizer puts before a text that begins with `before`.

    Raises:
        DataError: that text is not tokenized as the tokenizer's own special tokens are.
    """
    text = before + PROBE
    wanted = tokenizer.encode(text, add_special_tokens=True)
    added = len(wanted) - len(tokenizer.encode(text))
    prefix = tokenizer.decode(wanted[:added], skip_special=False) if added > 0 else ""
    if tokenizer.encode(prefix + text) != wanted:
        raise DataError(
            f"{tokenizer.folder}: its special tokens cannot be written as text before a prompt, so no chat template "
            "gives the tokens of training; use /v1/completions"
        )
    return prefix


def _conversation(tokenizer: Tokenizer, system: str | None, prefill: str) -> str:
    # An expression, unlike a block, takes no white space from the text beside it.
    parts = []
    if system is not None:
        parts.append(
            "{%- if messages[0]['role'] != 'system' -%}{%- set messages = [{'role': 'system', 'content': "
            f"{_literal(system)}}}] + messages -%}}{{%- endif -%}}{{{{ '' }}}}"
        )
    # Jinja drops one newline at the end of a template: here it is no longer at the end.
    parts.append(tokenizer.chat_template.removesuffix("\n"))
    if prefill:
        parts.append(f"{{{{ {_literal(prefill)} if add_generation_prompt else '' }}}}")
    return "".join(parts)


def _literal(text: str) -> str:
    """Return a Jinja string literal: Jinja reads JSON's escapes as Python's."""
    return json.dumps(text, ensure_ascii=False)
