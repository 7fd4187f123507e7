"""Defines the text that a reward model reads, the same in training and in scoring. No torch.

    reply  = judged_text("<think>7 * 4</think>28", "summary")      "28"
    ids    = document(tokenizer, "User: 7 * 4?\nAssistant: <think>", reply)

The helpful reward model reads the final summary alone, the safety model reasoning and summary (R1 §3.1).
"""

from __future__ import annotations

import re
from typing import Literal

from policies.tokenizer import Tokenizer
from rewards.text.extract import after_reasoning

Reads = Literal["summary", "response"]
CARD = "reward_model.json"
"""File beside the weights that names the objective and the text read. It marks a folder as a reward model."""

_OPEN_THINK = re.compile(r"<think>\s*\Z")


def judged_text(completion: str, reads: Reads, prompt: str = "") -> str:
    """Return the part of a completion that is judged.

    "summary": the text after the last `</think>`. Without a `</think>`: nothing if reasoning was opened and never
    closed, also by a prompt that ends with `<think>` (endless reasoning must not be rewarded as an answer); the whole
    text if there is no reasoning at all.
    """
    if reads == "response":
        return completion
    if _OPEN_THINK.search(prompt) and "</think>" not in completion:
        return ""
    return after_reasoning(completion).strip()


def document(tokenizer: Tokenizer, prompt: str, reply: str) -> list[int]:
    """Return token ids of prompt, reply and end-of-text token, whose hidden state is scored.

    A `<think>` at the end of the prompt (the template's prefill) is left out: the reply brings its own, or has none.

    Raises:
        ValueError: the tokenizer has no end-of-text token.
    """
    if tokenizer.eos_id is None:
        raise ValueError("the tokenizer has no end-of-text token; name eos_token in tokenizer_config.json")
    # Encoded separately, like a rollout's prompt and completion: no token crosses the boundary.
    return [*tokenizer.encode(_OPEN_THINK.sub("", prompt)), *tokenizer.encode(reply), tokenizer.eos_id]
