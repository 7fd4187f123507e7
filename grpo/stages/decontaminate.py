"""`grpo decontaminate`: rows of a training set → those that share no text with an evaluation set, and a report.

R1 compares 10-grams of words with evaluation questions and solutions, before and after pre-training; it finds copies,
not paraphrases (data_recipes/sft/decontaminate.py).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.markup import escape

from data_recipes.config import DatasetConfig, source_name
from data_recipes.errors import DataError
from data_recipes.fields import field as look_up_field
from grpo.common.console import say
from grpo.config.decontaminate import DecontaminateConfig
from grpo.stages.evaluation_texts import evaluation_texts
from grpo.stages.figures import Figures
from grpo.stages.pairs import write_parquet
from grpo.stages.preview import EXAMPLES, preview_end, preview_text
from grpo.stages.stage import Stage
from policies.files import write_atomic
from policies.json_types import JsonDict

if TYPE_CHECKING:
    from grpo.tracking.run_once import Summary

SHOWN_CHARS = 500
"""Characters of a text that the report shows."""


@dataclass
class Sorted:
    """The rows of all sources, sorted."""

    kept: list[JsonDict] = field(default_factory=list)
    dropped: list[JsonDict] = field(default_factory=list)
    """The report: where a row was, which evaluation set has which of its words, and its text."""

    def counts(self) -> Summary:
        """Return the numbers of rows: read, kept, and dropped by evaluation set."""
        by_set = Counter(str(entry["evaluation"]) for entry in self.dropped)
        return {
            "rows": len(self.kept) + len(self.dropped),
            "kept": len(self.kept),
            "dropped": dict(sorted(by_set.items())),
        }


def run(config: DecontaminateConfig) -> Summary:
    """Write the rows that are left and the report; returns the counts. A pure function of the files.

    Raises:
        DataError: a row cannot be read or lacks a field, by file and line; or nothing is left.
    """
    found = sort_rows(config)
    counts = found.counts()
    if not found.kept:
        raise DataError(
            f"no row is left of {counts}; every one shares {config.ngram} words with an evaluation set"
        )
    write_parquet(config.out, found.kept)
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in found.dropped)
    write_atomic(config.out.with_suffix(".dropped.jsonl"), "".join(lines))
    write_atomic(config.out.with_suffix(".json"), json.dumps(counts, indent=2) + "\n")
    say(f"{escape(str(counts))} → {escape(str(config.out))}")
    return counts


def preview(config: DecontaminateConfig) -> None:
    """Do all but write: print the counts and the first rows that are left out."""
    found = sort_rows(config)
    say(escape(str(found.counts())))
    for number, entry in enumerate(found.dropped[:EXAMPLES], 1):
        columns = {name: entry[name] for name in ("where", "evaluation", "words")}
        preview_text(f"left out, {number} of {len(found.dropped):,}", str(entry["text"]), columns)
    preview_end(config.out)


def sort_rows(config: DecontaminateConfig) -> Sorted:
    """Compare every row of the sources with every evaluation set; see `run`."""
    from data_recipes.bad_rows import BadRows
    from data_recipes.prompts.rows import read_rows
    from data_recipes.sft.decontaminate import evaluation_grams, shared_words

    sets = [
        (source_name(held_out.source), evaluation_grams(evaluation_texts([held_out]), config.ngram))
        for held_out in config.against
    ]
    found, bad = Sorted(), BadRows()
    for source in config.sources:
        for where, row in read_rows(DatasetConfig(source=source), on_bad=bad.add):
            with bad.caught():
                plain: JsonDict = dict(row)
                shared = next(
                    (
                        {"where": where, "evaluation": name, "words": words, "text": text[:SHOWN_CHARS]}
                        for text in compared_texts(where, plain, config.fields)
                        for name, grams in sets
                        if (words := shared_words(text, grams)) is not None
                    ),
                    None,
                )
                if shared is None:
                    found.kept.append(plain)
                else:
                    found.dropped.append(shared)
    bad.settle("error", "", hint="")
    return found


def compared_texts(where: str, row: JsonDict, fields: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts of a row that are compared.

    Raises:
        DataError: the row lacks one of the fields.
    """
    if not fields:
        yield from texts_in(row)
    for name in fields:
        yield from texts_in(look_up_field(where, row, "fields", name))


def texts_in(value: object) -> Iterator[str]:
    """Yield every text inside a value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def key_figure(figures: Figures) -> str:
    """Return how many rows were left out."""
    return f"left out {figures.get('rows', 0) - figures.get('kept', 0):,} of {figures.get('rows', 0):,}"


STAGE = Stage(
    name="decontaminate",
    help="Leave out the training rows that share text with an evaluation set, and report them.",
    example="grpo decontaminate clean.toml --set ngram=8",
    config=DecontaminateConfig,
    run=lambda config, _: run(config),
    preview=preview,
    compares_with=lambda config: config.against,
    sketch=lambda config, rows: [row for source in config.sources for row in rows(source)],
    outputs={"rows": "rows.parquet", "summary": "rows.json", "dropped": "rows.dropped.jsonl"},
    key_figure=key_figure,
    inputs=("sources.*", "against.*.source"),
    output_key="out",
    main_output="rows",
    takes_address=False,
)
