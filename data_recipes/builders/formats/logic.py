"""Logic puzzles with an answer that a rule compares: CLUEWSC (Chinese), and by `questions` those of reasoning-gym."""

from __future__ import annotations

from data_recipes.builders.formats.built import Built
from data_recipes.builders.formats.fields import text
from data_recipes.errors import DataError
from data_recipes.fields import Row, look_up, show

_LABELS = {"true": "对", "false": "错", "0": "对", "1": "错"}
"""By the file's words, and by the hub's class numbers: 0 is true."""


def from_cluewsc(where: str, row: Row) -> Built:
    """CLUEWSC2020: text, label, target with span1_text (a noun) and span2_text (a pronoun)."""
    passage = text(where, row, "text")
    noun, pronoun = (text(where, row, f"target.{name}") for name in ("span1_text", "span2_text"))
    label = look_up(row, "label")
    answer = None if isinstance(label, bool) else _LABELS.get(str(label))
    if answer is None:
        raise DataError(
            f"{where}: label = {show(label)}; expected true or false as text, or 0 (true) or 1 (false)"
        )
    return Built(
        "logic",
        f"{passage}\n\n上文中的“{pronoun}”指的是“{noun}”。这句话是对还是错？请回答“对”或“错”。",
        answer=answer,
    )
