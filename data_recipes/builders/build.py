"""Builds a data file: rows ─▶ converted ─▶ checked ─▶ decontaminated ─▶ each once ─▶ within limits ─▶ split.

    built = build(BUILDERS["r1-reasoning"], sources, Rules(), sets)
    built.train, built.held_out        rows with ids, kinds, languages and licences
    built.sources                      what was read, kept and left out of each data set, by rule

The result depends on the rows alone: which are kept, and their order, is decided by hashes of the questions' words, not
by the order of files. The same question is on the same side of the split in every build, whatever the seed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from data_recipes.bad_rows import BadRows
from data_recipes.builders.builder import Builder
from data_recipes.builders.config import SourceConfig
from data_recipes.builders.formats.built import Built, Kind, LeftOut
from data_recipes.builders.formats.language import language_of
from data_recipes.builders.formats.registry import FORMATS
from data_recipes.config import BadRowsMode, source_name
from data_recipes.errors import DataError
from data_recipes.fields import Row
from data_recipes.prompts.rows import read_rows
from data_recipes.sft.decontaminate import EvaluationGrams, shared_words
from policies.json_types import JsonDict

LANGUAGES = ("en", "zh")
CHUNK = 256
"""Answers that are verified at a time."""
_HEX = 16
"""Digits of a hash in an id."""
Verify = Callable[[Sequence[Built]], list[bool]]
"""Rows → whether the rule of each kind accepts the row's own reference answer."""


@dataclass(frozen=True)
class Rules:
    """What holds for all sources of a build."""

    most: dict[Kind, int] = field(default_factory=dict)
    """Rows to keep of each kind, held out ones among them; a kind that is missing has no limit."""
    held_out: float = 0.01
    """Fraction of questions that is held out."""
    before_year: int | None = None
    """Competitions from that year on are left out, where the year is known."""
    seed: int = 0
    """Decides which rows are kept where there are more than the limits allow."""
    bad_rows: BadRowsMode = "error"


@dataclass
class SourceCounts:
    """What became of a source's rows: read = bad + kept + held_out + sum(dropped)."""

    config: SourceConfig
    read: int = 0
    bad: int = 0
    kept: int = 0
    held_out: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    """SHA-256 of the rows that could be read."""

    def row(self) -> JsonDict:
        """Return the counts for the manifest, with what the source is."""
        stated = self.config.model_dump(mode="json", exclude_defaults=True, exclude={"streaming"})
        counts = {"read": self.read, "bad": self.bad, "kept": self.kept, "held_out": self.held_out}
        return {**stated, **counts, "dropped": dict(sorted(self.dropped.items())), "rows_sha256": self.digest}


@dataclass(frozen=True)
class BuiltFile:
    """The result of a build."""

    train: list[JsonDict]
    held_out: list[JsonDict]
    sources: list[SourceCounts]
    dropped: list[JsonDict]
    """Every row that a rule left out, but for those over a limit: where it was, the rule, and the words it shares."""


@dataclass(frozen=True)
class _Candidate:
    where: str
    source: int
    language: str
    built: Built
    key: str
    """Digest of what makes the row the same as another."""
    asks: str
    """Digest of the question, which decides the split."""


def build(
    builder: Builder,
    sources: Sequence[SourceConfig],
    rules: Rules,
    sets: Sequence[tuple[str, EvaluationGrams]] = (),
    verify: Verify | None = None,
) -> BuiltFile:
    """Read the sources and build the file's rows.

    Args:
        builder: what to build.
        sources: public data sets in formats that the builder takes; see `check_formats`.
        rules: limits, split, seed.
        sets: evaluation sets that no row may share text with, by name.
        verify: checks references by the rewards; None takes them all.

    Raises:
        DataError: bad rows by file, line and field (with rules.bad_rows = "error"), or nothing is left.
    """
    counts = [SourceCounts(source) for source in sources]
    dropped: list[JsonDict] = []
    bad, found = BadRows(), []
    for number, count in enumerate(counts):
        before = bad.count
        found += list(_read(builder, number, count, rules, sets, bad, dropped))
        count.bad = bad.count - before
    bad.settle(rules.bad_rows, ", ".join(source_name(source.source) for source in sources))
    once = _once(found, builder, counts, dropped)
    once.sort(key=lambda c: hashlib.sha256(f"{rules.seed}/{c.key}".encode()).digest())
    train: list[JsonDict] = []
    held_out: list[JsonDict] = []
    for candidate in _within_limits(once, rules, counts, dropped, verify):
        is_held_out = _fraction(candidate.asks) < rules.held_out
        (held_out if is_held_out else train).append(_columns(builder, candidate, sources))
        if is_held_out:
            counts[candidate.source].held_out += 1
        else:
            counts[candidate.source].kept += 1
    if not train:
        raise DataError(f"{builder.name}: no row is left of {[count.row() for count in counts]}")
    return BuiltFile(train, held_out, counts, dropped)


def check_formats(builder: Builder, sources: Sequence[SourceConfig]) -> Iterator[str]:
    """Yield what is wrong with the formats and kinds of the sources: (index, problem) as one line each."""
    fitting = [
        n
        for n, f in FORMATS.items()
        if f.has_reply == builder.has_reply and set(f.kinds) & set(builder.kinds)
    ]
    for number, source in enumerate(sources):
        known = FORMATS.get(source.format)
        where = f"sources.{number}"
        if known is None or source.format not in fitting:
            what = "is not known" if known is None else f"has no rows for {builder.name}"
            yield f"{where}.format = {source.format!r} {what}; take one of {', '.join(fitting)}"
        elif (source.kind or known.kinds[0]) not in known.kinds:
            yield f"{where}.kind = {source.kind!r}: rows of {source.format!r} are {' or '.join(known.kinds)}"
        elif (source.kind or known.kinds[0]) not in builder.kinds:
            yield f"{where}.kind = {source.kind or known.kinds[0]!r}: {builder.name} takes {', '.join(builder.kinds)}"


def _read(
    builder: Builder,
    number: int,
    count: SourceCounts,
    rules: Rules,
    sets: Sequence[tuple[str, EvaluationGrams]],
    bad: BadRows,
    dropped: list[JsonDict],
) -> Iterator[_Candidate]:
    """Yield the rows of one source that pass the rules that look at a row alone; count the others."""
    source, state = count.config, hashlib.sha256()
    before = bad.count
    for where, row in read_rows(source.rows, on_bad=bad.add):
        state.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode())
        count.read += 1
        try:
            candidate = _candidate(builder, number, where, row, source, rules)
            name, shared = _shared(candidate.built, sets)
            if shared is not None:
                _drop(count, dropped, where, "contaminated", evaluation=name, words=shared)
                continue
            yield replace(candidate, built=replace(candidate.built, solution=None))
        except LeftOut as rule:
            _drop(count, dropped, where, str(rule))
        except DataError as error:
            bad.add(error)
            count.read -= 1
    count.read += bad.count - before
    count.digest = state.hexdigest()


def _candidate(
    builder: Builder, number: int, where: str, row: Row, source: SourceConfig, rules: Rules
) -> _Candidate:
    built = FORMATS[source.format].convert(where, row)
    built = built if source.kind is None else replace(built, kind=source.kind)
    builder.check(built)
    if rules.before_year is not None and built.year is not None and built.year >= rules.before_year:
        raise LeftOut("too_late")
    language = language_of("\n".join(message.content for message in built.messages))
    if built.kind == "code":
        language = language or "en"
    if language not in LANGUAGES:
        raise LeftOut("other_language")
    asks = built.asks()
    key = (
        asks
        if built.completion is None
        else hashlib.sha256(f"{asks}\0{built.completion}".encode()).hexdigest()
    )
    return _Candidate(where, number, language, built, key, asks)


def _shared(built: Built, sets: Sequence[tuple[str, EvaluationGrams]]) -> tuple[str, str | None]:
    for text in built.texts():
        for name, grams in sets:
            if (found := shared_words(text, grams)) is not None:
                return name, found
    return "", None


def _once(
    found: Sequence[_Candidate], builder: Builder, counts: Sequence[SourceCounts], dropped: list[JsonDict]
) -> list[_Candidate]:
    """Return each question once; one with two reference answers is left out whole, for one of them is wrong."""
    answers: dict[str, set[str | None]] = {}
    for candidate in found:
        answers.setdefault(candidate.key, set()).add(candidate.built.answer)
    seen: set[str] = set()
    once = []
    for candidate in found:
        if builder.is_ruled and len(answers[candidate.key]) > 1:
            _drop(counts[candidate.source], dropped, candidate.where, "conflict")
        elif candidate.key in seen:
            _drop(counts[candidate.source], dropped, candidate.where, "duplicate")
        else:
            seen.add(candidate.key)
            once.append(candidate)
    return once


def _within_limits(
    ordered: Sequence[_Candidate],
    rules: Rules,
    counts: Sequence[SourceCounts],
    dropped: list[JsonDict],
    verify: Verify | None,
) -> Iterator[_Candidate]:
    """Yield the rows, in order, until source and kind have as many as they may; answers are verified on the way."""
    taken: Counter[Kind | int] = Counter()

    def has_room(candidate: _Candidate) -> bool:
        limit, most = counts[candidate.source].config.limit, rules.most.get(candidate.built.kind)
        return (limit is None or taken[candidate.source] < limit) and (
            most is None or taken[candidate.built.kind] < most
        )

    for start in range(0, len(ordered), CHUNK):
        chunk = [c for c in ordered[start : start + CHUNK] if has_room(c)]
        for candidate in ordered[start : start + CHUNK]:
            if not has_room(candidate):
                counts[candidate.source].dropped["over_limit"] += 1
        right = [True] * len(chunk) if verify is None else verify([c.built for c in chunk])
        for candidate, is_right in zip(chunk, right, strict=True):
            if not is_right:
                _drop(counts[candidate.source], dropped, candidate.where, "unverifiable")
            elif not has_room(candidate):
                counts[candidate.source].dropped["over_limit"] += 1
            else:
                taken[candidate.source] += 1
                taken[candidate.built.kind] += 1
                yield candidate


def _columns(builder: Builder, candidate: _Candidate, sources: Sequence[SourceConfig]) -> JsonDict:
    source = sources[candidate.source]
    return {
        "id": f"{candidate.built.kind}-{candidate.key[:_HEX]}",
        **builder.columns(candidate.built),
        "kind": candidate.built.kind,
        "language": candidate.language,
        "source": source_name(source.source),
        "licence": source.licence,
    }


def _drop(count: SourceCounts, dropped: list[JsonDict], where: str, reason: str, **more: str) -> None:
    count.dropped[reason] += 1
    dropped.append({"where": where, "reason": reason, **more})


def _fraction(digest: str) -> float:
    """Return a number from 0 to 1 that the question alone decides."""
    return int(hashlib.sha256(f"split/{digest}".encode()).hexdigest()[:13], 16) / 16**13
