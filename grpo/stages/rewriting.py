"""Rewrites the samples that `grpo curate` keeps: by a rule, a function of the user, or a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from data_recipes.errors import DataError
from grpo.common.served import served
from grpo.config.curate import COLD_START, CurateConfig
from policies.json_types import JsonMapping

if TYPE_CHECKING:
    from pathlib import Path

    from data_recipes.rewriting.prompts import Shot
    from data_recipes.sft.curate import Sample

FIELDS = ("question", "raw", "thought", "summary")


def rewritten(
    config: CurateConfig, samples: Sequence[Sample], rows: Mapping[str, JsonMapping]
) -> list[str | ValueError]:
    """Return the new completions, in order; a ValueError in the place of a sample that cannot be rewritten.

    Args:
        config: names the rewriter.
        samples: to rewrite.
        rows: the row of each sample, by its id, with `where` it stands.

    Raises:
        DataError: the rewriter fails, or the language model's server does.
        RewardLoadError: there is no such function.
    """
    if config.rewrite == COLD_START:
        return _by_model(config, samples, rows)
    rewrite = load_rewriter(config.rewrite)
    found: list[str | ValueError] = []
    for sample in samples:
        where = rows[sample.id]["where"]
        try:
            completion = rewrite(sample.prompt, sample.completion)
        except ValueError as error:
            found.append(error)
            continue
        except Exception as error:  # the rewriter is the user's own
            raise DataError(
                f"rewrite = {config.rewrite!r}, {where}: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(completion, str) or not completion.strip():
            raise DataError(
                f"rewrite = {config.rewrite!r}, {where}: returned {completion!r}; return the new "
                "completion, or raise ValueError where there is none"
            )
        found.append(completion)
    return found


def load_rewriter(name: str | None) -> Callable[[str, str], str]:
    """Return the function (prompt, completion) → completion.

    Raises:
        RewardLoadError: there is no such function.
    """

    from data_recipes.sft.curate import r1_format
    from rewards.registry import load_function

    if name is None:
        return lambda _, completion: completion
    if name == "r1-format":
        return lambda _, completion: r1_format(completion)
    return load_function(name)


def read_examples(path: Path | None) -> Sequence[Shot]:
    """Return the examples of a file, or the shipped ones.

    Raises:
        DataError: a row lacks a field, or there are no rows.
    """
    from data_recipes.bad_rows import BadRows
    from data_recipes.config import DatasetConfig
    from data_recipes.prompts.rows import read_rows
    from data_recipes.rewriting.prompts import SHOTS, Shot

    if path is None:
        return SHOTS
    shots: list[Shot] = []
    bad = BadRows()
    for where, row in read_rows(DatasetConfig(source=str(path)), on_bad=bad.add):
        with bad.caught():
            for name in FIELDS:
                if not isinstance(row.get(name), str) or not row[name].strip():
                    raise DataError(f"{where}: {name} = {row.get(name)!r}; expected text")
            shots.append(Shot(**{name: row[name] for name in FIELDS}))
    bad.settle("error", str(path), hint="")
    if not shots:
        raise DataError(f"{path}: no examples")
    return shots


def _by_model(
    config: CurateConfig, samples: Sequence[Sample], rows: Mapping[str, JsonMapping]
) -> list[str | ValueError]:
    from data_recipes.rewriting.rewriter import Rewriter, Trace
    from rewards.llm.client import Llm
    from rewards.llm.errors import LlmError
    from rewards.math.accuracy import warm_up

    shots = read_examples(config.rewrite_examples)
    traces = [
        Trace(
            question=sample.question or sample.prompt,
            completion=sample.completion,
            reference=rows[sample.id].get("answer"),
            language=sample.language,
        )
        for sample in samples
    ]
    warm_up()
    with served(config) as ready:
        assert ready.llm is not None
        try:
            with Llm(ready.llm) as llm:
                return list(Rewriter(llm, shots, config.seed).rewrite_all(traces))
        except LlmError as error:
            raise DataError(
                f"rewrite = {config.rewrite!r}: {error}\nThe answers so far are kept; the same command goes on"
            ) from error
