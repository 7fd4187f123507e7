"""`grpo data build NAME`: public data sets → a data file of R1's recipe, with a manifest of what it is made of.

reasoning.parquet              rows for training
reasoning.held-out.parquet     rows that a hash of their question holds out
reasoning.dropped.jsonl        what a rule left out, by file and line
reasoning.json                 the manifest, written last: a file without one is not whole
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from grpo.common.config_io import apply_overrides, check, find_recipe, read_toml
from grpo.common.console import say
from grpo.common.errors import ConfigError
from grpo.common.recipe_paths import inputs_beside, recipe_file
from grpo.config.data_build import DataBuildConfig
from policies.json_types import JsonDict, JsonMapping

if TYPE_CHECKING:
    from data_recipes.builders.build import BuiltFile
    from data_recipes.builders.builder import Builder

EVALUATION_SETS = (
    {"source": "HuggingFaceH4/aime_2024", "split": "train", "fields": ["problem", "solution"]},
    {"source": "HuggingFaceH4/MATH-500", "split": "test", "fields": ["problem", "solution"]},
)
"""What R1's recipe evaluates on."""
INPUTS = ("sources.*.source", "against.*.source")


def load(name: str, recipe: str | None, overrides: Sequence[str]) -> tuple[Builder, DataBuildConfig]:
    """Return a builder and its config: the builder's own values, the recipe's over them, then the overrides.

    Raises:
        ConfigError: no such builder, or a key is wrong; every error in one message.
    """
    from data_recipes.builders.build import check_formats
    from data_recipes.builders.registry import BUILDERS

    builder = BUILDERS.get(name)
    if builder is None:
        raise ConfigError(f"no builder {name!r}; there are {', '.join(BUILDERS)}")
    tree: JsonDict = json.loads(
        json.dumps(
            {
                "sources": list(builder.sources),
                "out": builder.out,
                "against": EVALUATION_SETS,
                "most": dict(builder.most),
                "before_year": builder.before_year,
            }
        )
    )
    file, text = f"builder {name}", ""
    if recipe is not None:
        file, text = find_recipe(recipe)
        own = read_toml(file, text)
        inputs_beside(own, INPUTS, recipe_file(file))
        tree |= own
    set_from = apply_overrides(tree, overrides)
    config = check(DataBuildConfig, tree, file, text, set_from)
    problems = [f"{file}: {problem}" for problem in check_formats(builder, config.sources)]
    if problems:
        raise ConfigError("\n".join(problems))
    if unknown := sorted(set(config.most) - set(builder.kinds)):
        raise ConfigError(f"{file}: most.{unknown[0]}: {name} has the kinds {', '.join(builder.kinds)}")
    return builder, config


def run(name: str, recipe: str | None, overrides: Sequence[str], dry_run: bool = False) -> JsonDict:
    """Build the file, or with `dry_run` do all but write; returns the manifest.

    Raises:
        ConfigError: see `load`.
        DataError: rows that cannot be used, by file, line and field; or nothing is left.
    """
    builder, config = load(name, recipe, overrides)
    built = make(builder, config)
    manifest = manifest_of(builder, config, built)
    show(manifest, built)
    if dry_run:
        say("dry run: nothing was written")
    else:
        write(config.out, built, manifest)
        say(f"{manifest['train']:,} rows → {escape(str(config.out))}, {manifest['held_out']:,} held out")
    return manifest


def make(builder: Builder, config: DataBuildConfig) -> BuiltFile:
    """Read, check and sort the rows of all sources; see `data_recipes.builders.build`."""
    from data_recipes.builders.build import Rules, build
    from data_recipes.builders.verify import AnswerCheck
    from data_recipes.config import source_name
    from data_recipes.sft.decontaminate import evaluation_grams
    from grpo.stages.evaluation_texts import evaluation_texts

    sets = [
        (source_name(held_out.source), evaluation_grams(evaluation_texts([held_out]), config.ngram))
        for held_out in config.against
    ]
    rules = Rules(dict(config.most), config.held_out, config.before_year, config.seed, config.bad_rows)
    with ExitStack() as stack:
        is_checked = config.check_answers and builder.is_ruled
        verify = stack.enter_context(AnswerCheck(config.workers)) if is_checked else None
        return build(builder, config.sources, rules, sets, verify)


def manifest_of(builder: Builder, config: DataBuildConfig, built: BuiltFile) -> JsonDict:
    """Return what the file is made of; no times and no host, so that the same rows give the same manifest."""
    from policies.digests import digest_json

    rows = [*built.train, *built.held_out]
    kept = config.model_dump(mode="json", exclude={"sources", "out", "workers"})
    return {
        "builder": builder.name,
        "train": len(built.train),
        "held_out": len(built.held_out),
        "kinds": dict(sorted(Counter(row["kind"] for row in rows).items())),
        "languages": dict(sorted(Counter(row["language"] for row in rows).items())),
        "licences": dict(sorted(Counter(row["licence"] for row in rows).items())),
        "sources": [count.row() for count in built.sources],
        "rules": kept,
        "train_digest": digest_json(built.train),
        "held_out_digest": digest_json(built.held_out),
    }


def write(out: Path, built: BuiltFile, manifest: JsonMapping) -> None:
    """Write the files, each atomically, the manifest last; an older manifest is removed first."""
    from grpo.stages.pairs import write_parquet
    from policies.files import write_atomic

    record = out.with_suffix(".json")
    record.unlink(missing_ok=True)
    write_parquet(out, built.train)
    held_out = out.with_suffix(".held-out.parquet")
    if built.held_out:
        write_parquet(held_out, built.held_out)
    else:
        held_out.unlink(missing_ok=True)
    lines = (json.dumps(entry, ensure_ascii=False) + "\n" for entry in built.dropped)
    write_atomic(out.with_suffix(".dropped.jsonl"), "".join(lines))
    write_atomic(record, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def show(manifest: JsonMapping, built: BuiltFile) -> None:
    """Print what became of each source's rows, and the first row of each kind."""
    for source in manifest["sources"]:
        left = ", ".join(f"{number:,} {reason}" for reason, number in source["dropped"].items())
        say(
            escape(
                f"  {source['format']}, {source['source']} ({source['licence']}): read {source['read']:,}, kept "
                f"{source['kept']:,} + {source['held_out']:,} held out"
                + (f"; left out {left}" if left else "")
                + (f"; {source['bad']:,} bad" if source["bad"] else "")
            )
        )
    shown: Counter[str] = Counter()
    for row in built.train:
        shown[row["kind"]] += 1
        if shown[row["kind"]] <= 1:
            text = row.get("question") or row["messages"][-1]["content"]
            say(escape(f"  e.g. {row['id']}: {' '.join(text.split())[:160]!r}; answer {row.get('answer')!r}"))


def formats() -> list[tuple[str, str, str]]:
    """Return name, kinds and columns of every format that sources may have."""
    from data_recipes.builders.formats.registry import FORMATS

    return [
        (name, ", ".join(f.kinds) + (", with replies" if f.has_reply else ""), f.what)
        for name, f in FORMATS.items()
    ]


def builders() -> list[tuple[str, str, str]]:
    """Return name, purpose and public sources of every builder."""
    from data_recipes.builders.registry import BUILDERS

    return [(b.name, b.help, ", ".join(str(s["source"]) for s in b.sources)) for b in BUILDERS.values()]
