"""Format rewards: 1 if the completion has the structure that the template asks for, else 0.

`format` (R1-Zero):   white space, one <think>…</think>, white space, one <answer>…</answer>, white space.
`format_r1` (R1):     white space, one <think>…</think>, then a summary.

Tags must match exactly, including case. Anything else that looks like one of them, anywhere in the text, scores 0:
a repeated or nested tag, different case, attributes, inner spaces, HTML entities, full-width brackets, zero-width
characters inside the name. The bodies (and the summary) must contain visible text.
"""

from __future__ import annotations

import html
import re
import unicodedata

from rewards.rows import RewardRow
from rewards.text.visible import has_visible_text, is_invisible, is_white_space
from rewards.types import Score

_TAG_LIKE = re.compile(r"<\s{0,8}/?\s{0,8}(think|answer)\b", re.IGNORECASE)
_FORMAT_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_R1_TAGS = ("<think>", "</think>")


def is_think_answer(text: str) -> bool:
    """Return True if `text` is exactly `ws <think>…</think> ws <answer>…</answer> ws`, where ws is white space."""
    return _problem(text) is None


def format_reward(row: RewardRow) -> Score:
    """Compute the reward `format`: 1.0, or 0.0 with the reason."""
    problem = _problem(row.completion)
    return Score(1.0 if problem is None else 0.0, reason=problem or "")


def format_r1_reward(row: RewardRow) -> Score:
    """Compute the reward `format_r1`: 1.0, or 0.0 with the reason."""
    problem = _problem_r1(row.completion)
    return Score(1.0 if problem is None else 0.0, reason=problem or "")


def _problem(text: str) -> str | None:
    cut = _cut_at_tags(text, _FORMAT_TAGS)
    if isinstance(cut, str):
        return cut
    before, reasoning, between, answer, after = cut
    if not all(map(is_white_space, (before, between, after))):
        return "text outside the tags"
    if not _shows_text(reasoning):
        return "empty reasoning"
    if not _shows_text(answer):
        return "empty answer"
    return None


def _problem_r1(text: str) -> str | None:
    cut = _cut_at_tags(text, _R1_TAGS)
    if isinstance(cut, str):
        return cut
    before, reasoning, summary = cut
    if not is_white_space(before):
        return "text before <think>"
    if not _shows_text(reasoning):
        return "empty reasoning"
    if not _shows_text(summary):
        return "empty summary"
    return None


def _cut_at_tags(text: str, tags: tuple[str, ...]) -> list[str] | str:
    """Split `text` at `tags`, each of which must occur exactly once and in this order; else return the problem."""
    pieces: list[str] = []
    rest = text
    for tag in tags:
        if text.count(tag) != 1:
            return f"{tag} stands {text.count(tag)} times"
        piece, found, rest = rest.partition(tag)
        if not found:
            return f"{tag} out of order"
        pieces.append(piece)
    pieces.append(rest)
    alike = [name for name in _TAG_LIKE.findall(_unmasked(text)) if f"<{name.lower()}>" in tags]
    if len(alike) != len(tags):
        return "another tag or a disguised one"
    return pieces


def _unmasked(text: str) -> str:
    """Normalize `text` to expose disguised tags: unescape entities twice, apply NFKC, drop invisible characters."""
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if text.isascii():
        return text
    folded = unicodedata.normalize("NFKC", text)
    return "".join(char for char in folded if not is_invisible(char))


def _shows_text(body: str) -> bool:
    return has_visible_text(html.unescape(body) if "&" in body else body)
