"""Filters, search, order and pages of samples, against a plain loop over the rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.tracking.sample_row import SampleRow
from grpo.tracking.samples import file_name, write_samples
from grpo.view.parts import Part, PartCache, RunParts
from grpo.view.query import BadQuery, Query, parse_query
from grpo.view.search import MAX_CHARS, excerpt, literal, page_rows, search
from tests.grpo.view.world import sample

SHARED = PartCache()
TEXTS = ("the ANSWER is 42", "straße", "<script>", "a.b*c", "", "42 or\nnot")


class Rows(tuple[Path, list[SampleRow]]):
    """(run directory, its rows); its name in a report of Hypothesis is short."""

    def __repr__(self) -> str:
        return "rows"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """16 training files and 2 held-out ones with every kind of missing value; later files have one more reward."""
    run_dir, made = tmp_path_factory.mktemp("run"), []
    for step in range(1, 17):
        group = []
        for number in range(2):
            for index in range(3):
                at = step * 6 + number * 3 + index
                verdict = ("ok", "ok", "timeout", "ok", "abstain", "error")[at % 6]
                components: dict[str, float | None] = {"accuracy": at % 5 / 4 if at % 6 else None}
                if step > 8:
                    components["brief"] = float(at % 7)
                group.append(
                    sample(
                        step, number, index, completion=TEXTS[at % len(TEXTS)], verdict=verdict,
                        total=at % 5 / 4 if verdict == "ok" else None, tokens=at % 11, components=components,
                        advantage=None if at % 4 == 0 else (at % 9) - 4.0, discarded=at % 10 == 0,
                        finish_reason="length" if at % 3 == 0 else "stop", reason="late" if at % 8 == 0 else None,
                    )
                )  # fmt: skip
        write_samples(run_dir / "samples" / file_name(step), group)
        made += group
    for step in (0, 16):
        group = [
            dataclasses.replace(
                sample(step, n, 0), id=f"eval-{step}/{n}/0", stage="eval", discarded=None, advantage=None
            )
            for n in range(4)
        ]
        write_samples(run_dir / "eval" / file_name(step), group)
        made += group
    return Rows((run_dir, made))


def column(row: SampleRow, name: str) -> Any:
    return row.components.get(name) if name in ("accuracy", "brief") else getattr(row, name)


def passes(row: SampleRow, query: Query) -> bool:
    """The oracle: what `Query` says, written plainly."""
    texts = [getattr(row, query.field)] if query.field else [row.completion, row.prompt]
    if query.text and not any(
        text is not None and (query.text in text if query.case else query.text.lower() in text.lower())
        for text in texts
    ):
        return False
    for name, least, most in query.bounds:
        value = column(row, name)
        if value is None or (least is not None and value < least) or (most is not None and value > most):
            return False
    return (
        (not query.stage or query.stage == {"rl": "train", "eval": "eval"}[row.stage])
        and (query.truncated is None or (row.finish_reason == "length") == query.truncated)
        and (
            not query.verdict
            or (row.verdict != "ok" if query.verdict == "failed" else row.verdict == query.verdict)
        )
        and (query.discarded is None or (row.discarded is True) == query.discarded)
        and (not query.prompt or row.prompt_id == query.prompt)
    )


def maybe(strategy: Any) -> Any:
    return st.one_of(st.none(), strategy)


queries = st.builds(
    Query,
    text=st.sampled_from(["", "", "answer", "42", "<SCRIPT>", ".", "question 1", "nothing of that kind"]),
    field=st.sampled_from(["", "completion", "reason", "answer"]),
    case=st.booleans(),
    stage=st.sampled_from(["", "train", "eval"]),
    step_min=maybe(st.integers(0, 41)),
    step_max=maybe(st.integers(0, 41)),
    reward=st.sampled_from(["total", "accuracy", "brief"]),
    reward_min=maybe(st.sampled_from([0.0, 0.5, 1.0])),
    reward_max=maybe(st.sampled_from([0.0, 0.5, 1.0])),
    tokens_min=maybe(st.integers(0, 12)),
    advantage_max=maybe(st.integers(-4, 4)),
    truncated=maybe(st.booleans()),
    verdict=st.sampled_from(["", "ok", "failed", "timeout"]),
    discarded=maybe(st.booleans()),
    prompt=st.sampled_from(["", "", "p1", "p9"]),
    sort=st.sampled_from(["", "total", "tokens", "brief", "step"]),
    descending=st.booleans(),
    limit=st.just(200),
)


@settings(max_examples=60, deadline=None)
@given(query=queries)
def test_a_search_finds_what_a_plain_loop_finds(rows: Rows, query: Query) -> None:
    run_dir, made = rows
    parts = [("r", part) for part in RunParts(run_dir).parts()]
    cache = SHARED
    wanted = {row.id for row in made if passes(row, query)}
    whole = search(parts, query, cache, stop_early=False)
    assert whole.is_whole
    assert whole.samples == len(made)
    found: list[str] = []
    while True:  # all pages, by the search that stops early
        page = page_rows(
            search(parts, dataclasses.replace(query, offset=len(found)), cache),
            dataclasses.replace(query, offset=len(found)),
        )
        if not page:
            break
        found += [row["id"] for row in page]
    assert len(found) == len(whole.which)
    assert set(found) == wanted
    if query.sort:
        by_id = {row.id: column(row, query.sort) for row in made}
        values = [by_id[name] for name in found]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=query.descending)
        assert None not in values[: len(known)]


def test_a_search_ends_early_and_says_so(rows: Rows) -> None:
    parts = [("r", part) for part in RunParts(rows[0]).parts()]
    found = search(parts, Query(text="42", limit=5), PartCache())
    assert not found.is_whole
    assert len(found.which) > 5
    assert search(parts, Query(text="42", limit=5, sort="total"), PartCache()).is_whole


def test_columns_are_read_once_and_dropped_when_there_are_too_many(rows: Rows) -> None:
    (part, *_) = RunParts(rows[0]).parts()
    made: list[str] = []

    class Entry:
        nbytes = 400

    def make(name: str) -> Any:
        def entry() -> Entry:
            made.append(name)
            return Entry()

        return entry

    cache = PartCache(limit=1000)
    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get(part, name, make(name))
    assert made == ["a", "b", "c", "b"]


def test_a_file_that_a_resumed_run_wrote_again_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "samples" / file_name(1)
    write_samples(path, [sample(1, 0, 0, total=0.25)])
    parts, cache = RunParts(tmp_path), PartCache()
    query = Query(reward_min=0.5)
    assert len(search([("r", p) for p in parts.parts()], query, cache).which) == 0
    write_samples(path, [sample(1, 0, 0, total=0.75), sample(1, 0, 1, total=0.75)])
    assert len(search([("r", p) for p in parts.parts()], query, cache).which) == 2
    path.unlink()
    assert parts.parts() == []


def test_a_damaged_file_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples" / file_name(1), [sample(1, 0, 0)])
    (tmp_path / "samples" / file_name(2)).write_bytes(b"PAR1 torn")
    parts = RunParts(tmp_path)
    assert [part.rows for part in parts.parts()] == [1]
    assert "step-000002.parquet" in parts.problems[0]


def test_the_parts_of_a_sampling_run_are_shown_until_it_is_whole(tmp_path: Path) -> None:
    write_samples(tmp_path / "parts" / "000000.parquet", [sample(0, 0, 0)])
    write_samples(tmp_path / "parts" / "000001.parquet", [sample(0, 1, 0), sample(0, 1, 1)])
    parts = RunParts(tmp_path)
    assert [(p.rows, p.file.stage) for p in parts.parts()] == [(1, "sample"), (2, "sample")]
    write_samples(tmp_path / "samples.parquet", [sample(0, n, 0) for n in range(5)])
    assert [part.rows for part in parts.parts()] == [5]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": "900"}, "limit = '900': a whole number from 0 to 200"),
        ({"offset": "-1"}, "offset = '-1': a whole number"),
        ({"reward_min": "much"}, "reward_min = 'much': not a number"),
        ({"tokens_max": "nan"}, "tokens_max = 'nan': not a number"),
        ({"truncated": "perhaps"}, "truncated = 'perhaps': yes or no"),
        ({"verdict": "guilty"}, "verdict = 'guilty': one of ok, abstain, timeout, error, failed"),
    ],
)
def test_a_wrong_parameter_is_named(given: dict[str, str], message: str) -> None:
    with pytest.raises(BadQuery) as caught:
        parse_query(given)
    assert str(caught.value).startswith(message)


def test_empty_parameters_filter_nothing() -> None:
    assert parse_query({"text": "", "reward_min": "", "run": "a", "verdict": ""}) == Query()
    assert parse_query({"truncated": "no", "reward_min": "-inf"}) == Query(
        truncated=False, reward_min=-float("inf")
    )


@given(st.text(max_size=20), st.integers(0, 3 * MAX_CHARS), st.text(min_size=1, max_size=5))
def test_a_long_text_is_cut_around_what_was_found(end: str, before: int, needle: str) -> None:
    text = "x" * before + needle + end
    shown = excerpt(text, needle, case=True)
    assert needle in shown
    assert len(shown) <= MAX_CHARS + 4


def test_a_part_knows_its_steps(rows: Rows) -> None:
    parts: list[Part] = RunParts(rows[0]).parts()
    assert {part.steps for part in parts if part.file.stage == "eval"} == {(0, 0), (16, 16)}


@given(st.text(alphabet="ab.+*?()[]{}|^$\\/# \n\té'\"-", min_size=1, max_size=12))
def test_what_is_searched_is_a_literal_text(needle: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [needle, f"x{needle}y", "", "ab", needle[:-1]]
    for ignore_case in (False, True):
        hits = pc.match_substring_regex(pa.array(texts), literal(needle), ignore_case=ignore_case).to_pylist()
        fold = str.lower if ignore_case else str
        assert hits == [fold(needle) in fold(text) for text in texts]
