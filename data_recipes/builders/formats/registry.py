"""The formats of public data sets by name.

FORMATS["gsm8k"].convert("a.jsonl, line 1", row)        Built("math", …); LeftOut by a rule; DataError for a bad row
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from data_recipes.builders.formats import choice, code, general, instruct, logic, maths
from data_recipes.builders.formats.built import Built, Kind
from data_recipes.fields import Row

Convert = Callable[[str, Row], Built]
"""(location, row) → the row in the project's terms."""


@dataclass(frozen=True)
class Format:
    """How the rows of some public data sets look."""

    convert: Convert
    kinds: tuple[Kind, ...]
    """The kinds that its rows may be of; the first is the converter's, a source may name another."""
    has_reply: bool = False
    """True if its rows have a reply to learn."""

    @property
    def what(self) -> str:
        """The data sets and their columns, in a line."""
        return (self.convert.__doc__ or "").strip()


RULED: tuple[Kind, ...] = ("math", "logic")
FORMATS: dict[str, Format] = {
    "math": Format(maths.from_math, ("math",)),
    "gsm8k": Format(maths.from_gsm8k, ("math",)),
    "aime": Format(maths.from_aime, ("math",)),
    "numina": Format(maths.from_numina, ("math",)),
    "verl": Format(maths.from_verl, RULED),
    "questions": Format(maths.from_questions, RULED),
    "cluewsc": Format(logic.from_cluewsc, ("logic",)),
    "mmlu": Format(choice.from_mmlu, ("stem",)),
    "mmlu-pro": Format(choice.from_mmlu_pro, ("stem",)),
    "gpqa": Format(choice.from_gpqa, ("stem",)),
    "arc": Format(choice.from_arc, ("stem",)),
    "sciq": Format(choice.from_sciq, ("stem",)),
    "medmcqa": Format(choice.from_medmcqa, ("stem",)),
    "ceval": Format(choice.from_ceval, ("stem",)),
    "apps": Format(code.from_apps, ("code",)),
    "livecodebench": Format(code.from_livecodebench, ("code",)),
    "code-contests": Format(code.from_code_contests, ("code",)),
    "humaneval": Format(code.from_humaneval, ("code",)),
    "mbpp": Format(code.from_mbpp, ("code",)),
    "built": Format(code.from_built, ("code",)),
    "reference": Format(general.from_reference, ("open",)),
    "helpsteer": Format(general.from_helpsteer, ("general",)),
    "prompts": Format(general.from_prompts, ("general", "safety")),
    "arena-hard": Format(general.from_arena_hard, ("general",)),
    "chats": Format(general.from_chats, ("general", "safety")),
    "safety": Format(general.from_safety, ("safety",)),
    "alpaca": Format(instruct.from_alpaca, ("general",), has_reply=True),
    "dolly": Format(instruct.from_dolly, ("general",), has_reply=True),
    "replies": Format(instruct.from_replies, ("general",), has_reply=True),
    "messages": Format(instruct.from_messages, ("general",), has_reply=True),
    "translations": Format(instruct.from_translations, ("general",), has_reply=True),
}
"""Every format by the name that a recipe gives."""
