"""Reads the questions and solutions of evaluation sets, for `grpo curate` and `grpo decontaminate`."""

from __future__ import annotations

from collections.abc import Sequence

from data_recipes.errors import DataError
from grpo.config.evaluation_text import EvaluationText


def evaluation_texts(sets: Sequence[EvaluationText]) -> list[str]:
    """Return the texts of all evaluation sets.

    Raises:
        DataError: a row lacks one of its fields, or there are no rows: what was left out could not be found in the
            training texts.
    """
    from data_recipes.bad_rows import BadRows
    from data_recipes.prompts.rows import read_rows

    texts: list[str] = []
    bad = BadRows()
    for held_out in sets:
        for where, row in read_rows(held_out.rows, on_bad=bad.add):
            with bad.caught():
                for name in held_out.fields:
                    if not isinstance(row.get(name), str):
                        raise DataError(
                            f"{where}: {name} = {row.get(name)!r}; expected text (fields names other columns)"
                        )
                    texts.append(row[name])
    bad.settle("error", "", hint="")
    if not texts:
        raise DataError(f"{', '.join(h.source for h in sets)}: no rows to compare the training texts with")
    return texts
