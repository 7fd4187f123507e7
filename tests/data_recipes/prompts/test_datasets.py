import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.prompts.datasets import load_prompts, strip_thousands
from data_recipes.prompts.rows import read_rows
from policies.tokenizer import Tokenizer

ROWS = [{"question": f"{a} + 3", "answer": str(a + 3), "level": a} for a in range(5)]


@pytest.fixture
def load(tiny_tokenizer: Tokenizer) -> Callable[..., Any]:
    def _load(source: Path | str, **options: Any) -> Any:
        config = DatasetConfig(source=str(source), **{"template": "plain", **options})
        return load_prompts(config, tiny_tokenizer)

    return _load


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_become_prompts(tmp_path: Path, load) -> None:
    prompts = load(write(tmp_path / "a.jsonl", ROWS), template="r1-zero", prefill=" <think>")
    assert [p.answer for p in prompts] == ["3", "4", "5", "6", "7"]
    first = prompts[0]
    assert first.text.endswith("User: 0 + 3. Assistant: <think>")
    assert first.prefill == " <think>"
    assert first.columns == {"question": "0 + 3", "level": 0}
    assert first.source == "a.jsonl"
    assert first.token_ids[0] == 1


def test_ids_are_different_and_do_not_depend_on_the_folder(tmp_path: Path, load) -> None:
    (tmp_path / "other").mkdir()
    here = load(write(tmp_path / "a.jsonl", ROWS))
    there = load(write(tmp_path / "other" / "a.jsonl", ROWS))
    assert [p.id for p in here] == [p.id for p in there]
    assert len({p.id for p in here}) == 5


def test_gzip_and_parquet_give_the_same_prompts(tmp_path: Path, load) -> None:
    import pyarrow
    from pyarrow import parquet

    plain = write(tmp_path / "a.jsonl", ROWS)
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as file:
        file.write(plain.read_bytes())
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    texts = [
        [(p.text, p.answer, p.columns) for p in load(tmp_path / f"a{e}")]
        for e in (".jsonl", ".jsonl.gz", ".parquet")
    ]
    assert texts[0] == texts[1] == texts[2]


def test_limit_takes_the_first_rows(tmp_path: Path, load) -> None:
    assert [p.answer for p in load(write(tmp_path / "a.jsonl", ROWS), limit=2)] == ["3", "4"]


def test_blank_lines_are_no_rows(tmp_path: Path, load) -> None:
    assert len(load(write(tmp_path / "a.jsonl", [ROWS[0], "", ROWS[1], "  "]))) == 2


def test_other_field_names_columns_and_constants(tmp_path: Path, load) -> None:
    rows = [{"problem": "1 + 1", "solution": 2, "lang": "en", "level": 3}]
    (prompt,) = load(
        write(tmp_path / "a.jsonl", rows),
        prompt_field="problem",
        answer_field="solution",
        columns={"language": "lang"},
        constants={"kind": "math"},
    )
    assert prompt.answer == 2
    assert prompt.columns == {
        "question": "1 + 1",
        "solution": 2,
        "language": "en",
        "level": 3,
        "kind": "math",
    }, "a reward that asks for the answer by its field's name gets it"


def test_rewards_without_reference_need_no_answer(tmp_path: Path, load) -> None:
    (prompt,) = load(write(tmp_path / "a.jsonl", [{"question": "1 + 1"}]), answer_field=None)
    assert prompt.answer is None


def test_gsm8k_answers(tmp_path: Path, load) -> None:
    rows = [
        {"question": "1", "answer": "16 - 3 = <<16-3=13>>13\n#### 13"},
        {"question": "2", "answer": "big\n#### 1,080"},
        {"question": "3", "answer": "none of these\n#### -2,125,000.50"},
    ]
    prompts = load(write(tmp_path / "a.jsonl", rows), answer_pattern="#### (.+)$")
    assert [p.answer for p in prompts] == ["13", "1080", "-2125000.50"]


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_are_stripped_from_every_number(number: int) -> None:
    assert strip_thousands(f"{number:,}") == str(number)


@pytest.mark.parametrize("text", ["1,2", "1,2,3", "12,34", "(1,080)", "x,080", "1,0800", "1,080 apples"])
def test_other_commas_stay(text: str) -> None:
    assert strip_thousands(text) == text


BROKEN: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "not JSON": (
        [ROWS[0], '{"question": "1", "answer": '],
        {},
        r"a\.jsonl, line 2: not JSON at column \d+.*fix",
    ),
    "no object": ([ROWS[0], ROWS[1], "[1]"], {}, r"a\.jsonl, line 3: expected an object.*found \[1\]"),
    "empty": ([], {}, r"a\.jsonl: no prompts"),
    "wrong field": (
        ROWS,
        {"prompt_field": "problem"},
        r"line 1: no field 'problem'; there are question, answer, ",
    ),
    "missing answer": ([ROWS[0], {"question": "1"}], {}, r"line 2: no field 'answer'; .*set answer_field"),
    "null answer": ([{"question": "1", "answer": None}], {}, r"line 1: answer = None: no reference answer"),
    "empty answer": ([{"question": "1", "answer": " "}], {}, r"line 1: answer = ' ': no reference answer"),
    "odd answer": (
        [{"question": "1", "answer": {"x": 1}}],
        {},
        r"line 1: answer = \{'x': 1\}: expected text",
    ),
    "empty question": (
        [{"question": "", "answer": "1"}],
        {},
        r"line 1: question = ''; expected the question",
    ),
    "odd question": ([{"question": 7, "answer": "1"}], {}, r"line 1: question = 7; expected the question"),
    "duplicate": ([*ROWS, ROWS[2]], {}, r'line 6: same question and answer as .*jsonl, line 3; .*"drop"'),
    "no match": (
        ROWS,
        {"answer_pattern": "## (.+)$"},
        r"line 1: answer: answer_pattern '## \(\.\+\)\$' finds",
    ),
    "missing column": (ROWS, {"columns": {"a": "lang"}}, r"line 1: no field 'lang'.*columns\.a"),
    "constant taken": (
        ROWS,
        {"constants": {"level": 1}},
        r"line 1: already has level = 0.*remove constants\.level",
    ),
    "unknown word": (
        [{"question": "zebra", "answer": "1"}],
        {},
        r"line 1: the tokenizer of .* not know 'zebra' in .*zebra",
    ),
    "unknown end of a long prompt": (
        [{"question": "7 * 4 zebra" + " + 3" * 100, "answer": "1"}],
        {},
        r"line 1: the tokenizer of .* not know ' ?zebra' in .*the policy would read <unk>",
    ),
    "all too long": (ROWS, {"max_prompt_tokens": 2}, r"no prompts \(5 too long\); raise max_prompt_tokens"),
    "no template": (ROWS, {"template": "chat"}, r"no chat template"),
}


@pytest.mark.parametrize(("rows", "options", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_bad_rows_name_file_line_field_and_fix(
    tmp_path: Path, load, rows: list[Any], options: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "a.jsonl", rows) if rows else tmp_path / "a.jsonl"
    path.touch()
    with pytest.raises(DataError) as error:
        load(path, **options)
    first, *others = str(error.value).split("\n")
    assert re.search(message, first), first
    reported = (f"{len(rows)} bad rows; fix or delete them, or set", "1 bad row; fix or delete it, or set")
    assert not others or others[-1].startswith(reported), others


UNREADABLE = {
    "thousands of brackets": (b"[" * 100_000, r"line 2: not JSON that can be read"),
    "thousands of digits": (
        b'{"question": "1", "answer": ' + b"9" * 5000 + b"}",
        r"line 2: not JSON that can be",
    ),
    "half a character": (b'{"question": "\\ud83d x", "answer": "1"}', r"line 2: .*surrogate.*fix or delete"),
    "no number": (b'{"question": "1", "answer": NaN}', r"line 2: answer = nan: expected text, a number"),
    "control character": (b'{"question": "1\x00", "answer": "1"}', r"line 2: not JSON at column 16"),
    "cut short": (b'{"question": "1", "answer"', r"line 2: not JSON at column 27"),
    "two on a line": (b'{"question": "1"}{"question": "2"}', r"line 2: not JSON at column 18"),
}


@pytest.mark.parametrize(("line", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_lines_that_only_some_readers_take_are_named(tmp_path: Path, load, line: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"question": "1", "answer": "1"}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        load(path)


def test_all_bad_rows_are_counted_before_the_stage_stops(tmp_path: Path, load) -> None:
    rows = [ROWS[0], *([{"question": ""}] * 6), "{"]
    with pytest.raises(DataError) as error:
        load(write(tmp_path / "a.jsonl", rows))
    lines = str(error.value).split("\n")
    assert [line.partition("line ")[2][0] for line in lines[:5]] == ["2", "3", "4", "5", "6"]
    assert lines[5:] == ["… and 2 more", '7 bad rows; fix or delete them, or set bad_rows = "skip"']


def test_bad_rows_can_be_left_out_and_are_counted(
    tmp_path: Path, load, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.jsonl", [ROWS[0], "{", {"question": ""}, ROWS[1], ROWS[0]])
    assert [p.answer for p in load(path, bad_rows="skip")] == [ROWS[0]["answer"], ROWS[1]["answer"]]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(r"a.jsonl: left out 3 bad rows, the first: .*line 2: not JSON", record.getMessage())
    with pytest.raises(DataError, match=r"no prompts \(0 too long, 1 bad rows\)"):
        load(write(tmp_path / "b.jsonl", ["{"]), bad_rows="skip")


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_a_row(tmp_path: Path, load) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "1", "answer": "2"}\r\n{"question": "3", "answer": "4"}\r\n')
    assert [p.answer for p in load(path)] == ["2", "4"]


def test_text_that_is_no_utf8_in_parquet_is_named_by_row(tmp_path: Path, load) -> None:
    answers = pa.array([b"1", b"\xff\xfe", b"3"]).view(pa.string())
    table = pa.table({"question": ["1", "2", "3"], "answer": answers})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet, row 2: not readable .*0xff"):
        load(tmp_path / "a.parquet")


def test_a_damaged_page_of_parquet_names_the_file(tmp_path: Path, load) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"question": [f"{i} + {i}" for i in range(999)]}), path)
    content = path.read_bytes()
    path.write_bytes(content[:40] + b"\xff" * 200 + content[240:])
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file"):
        load(path)


def test_duplicates_can_be_dropped(tmp_path: Path, load) -> None:
    assert len(load(write(tmp_path / "a.jsonl", [*ROWS, *ROWS]), duplicates="drop")) == 5


def test_the_same_question_with_another_answer_is_no_duplicate(tmp_path: Path, load) -> None:
    rows = [{"question": "1", "answer": "2"}, {"question": "1", "answer": "3"}]
    assert len(load(write(tmp_path / "a.jsonl", rows))) == 2


def test_long_prompts_are_left_out(tmp_path: Path, load) -> None:
    rows = [{"question": "1", "answer": "2"}, {"question": "1 + 2 + 3 + 4", "answer": "2"}]
    assert [p.text for p in load(write(tmp_path / "a.jsonl", rows), max_prompt_tokens=4)] == ["1"]


def test_what_is_left_out_is_reported(tmp_path: Path, load, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.jsonl", [*ROWS, {"question": "1 + 2 + 3 + 4 + 5", "answer": "15"}, ROWS[0]])
    load(path, max_prompt_tokens=8, duplicates="drop")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "left out 1 prompts above 8 tokens and 1 duplicates, kept 5" in record.getMessage()


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a"])
def test_a_file_of_another_ending_is_not_looked_for_on_the_hub(name: str, tmp_path: Path, load) -> None:
    path = tmp_path / name
    path.write_text('{"question": "1", "answer": "1"}')
    with pytest.raises(DataError, match=r"supported are \.jsonl, .*, \.parquet: rename or convert the file"):
        load(path)


def test_missing_file(load) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file"):
        load("nowhere.jsonl")


def test_cut_gzip_names_the_line(tmp_path: Path, load) -> None:
    import random

    rng = random.Random(0)
    body = "".join(json.dumps({"question": str(rng.random()), "answer": "1"}) + "\n" for _ in range(2000))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(body.encode())[:-2000])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz, after line \d+: the gzip stream is broken"):
        load(path, limit=None)


def test_a_file_that_is_no_gzip(tmp_path: Path, load) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_text(json.dumps(ROWS[0]))
    with pytest.raises(DataError, match="gzip stream is broken"):
        load(path)


def test_a_file_that_is_no_parquet(tmp_path: Path, load) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("hello")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file"):
        load(path)


def test_bytes_that_are_no_utf8(tmp_path: Path, load) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(ROWS[0]).encode() + b'\n{"question": "\xff"}\n')
    with pytest.raises(DataError, match=r"line 2: not UTF-8 at byte 15"):
        load(path)


def test_hub_rows_are_read_by_name_subset_and_split(monkeypatch: pytest.MonkeyPatch, load) -> None:
    import datasets

    asked = []

    def fake(name: str, subset: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, subset, split))
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", fake)
    assert len(load("openai/gsm8k", subset="main")) == 5
    load("openai/gsm8k", subset="main", split="test")
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]


def test_hub_failure_names_what_was_asked_and_the_way_without_network(monkeypatch, load) -> None:
    import datasets

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=r"openai/gsm8k: .*'test' of subset 'main'.*Couldn't reach.*\.jsonl"):
        load("openai/gsm8k", subset="main", split="test")


def test_chain_splits_share_no_prompt(load) -> None:
    train = load("chain", template="r1-zero", params={"count": 900})
    held_out = load("chain", template="r1-zero", split="held-out", params={"count": 300})
    assert (len(train), len(held_out)) == (900, 300)
    assert not {p.text for p in train} & {p.text for p in held_out}
    assert {p.columns["k"] for p in held_out} == {2, 3, 4}
    longer = load("chain", template="r1-zero", params={"count": 30, "min_ops": 5, "max_ops": 7})
    assert {p.columns["k"] for p in longer} == {5, 6, 7}


def test_too_many_short_chains(load) -> None:
    with pytest.raises(DataError, match=r"chain: .*lower params\.count"):
        load("chain", split="held-out", params={"count": 5000, "max_ops": 2})


def test_a_folder_is_its_files_in_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("b.jsonl", "a.jsonl", ".c.jsonl.12.tmp", ".hidden.jsonl"):
        (folder / name).write_text(json.dumps({"question": name, "answer": "1"}) + "\n")
    (folder / "notes.txt").write_text("no rows")
    (folder / "deeper").mkdir()
    config = DatasetConfig(source=f"{folder}/")
    assert [row["question"] for _, row in read_rows(config)] == ["a.jsonl", "b.jsonl"]
    assert next(read_rows(config))[0] == f"{folder / 'a.jsonl'}, line 1"
    with pytest.raises(DataError, match=r"deeper/: no folder with files of these endings: \.jsonl"):
        read_rows(DatasetConfig(source=f"{folder}/deeper/"))
    with pytest.raises(DataError, match="nowhere/: no folder"):
        read_rows(DatasetConfig(source=f"{tmp_path}/nowhere/"))


def test_rewards_read_the_think_that_a_chat_template_opens(tmp_path: Path) -> None:
    """The template of R1's distilled models ends a prompt with <think>; without it no reply has the format."""
    from rewards.rows import RewardRow
    from rewards.text.format import format_r1_reward
    from tests.data_recipes.sft.test_examples import R1_TEMPLATE, tokenizer_with

    r1 = tokenizer_with(tmp_path, R1_TEMPLATE)
    source = write(tmp_path / "a.jsonl", ROWS[:1])
    (prompt,) = load_prompts(DatasetConfig(source=str(source), template="chat"), r1)
    assert prompt.text.endswith("A:<think>\n")
    reply = prompt.prefill + "0 + 3 = 3</think>\n3"
    assert format_r1_reward(RewardRow(reply)).total == 1.0
    with pytest.raises(DataError, match="two <think>; remove prefill"):
        load_prompts(DatasetConfig(source=str(source), template="chat", prefill="<think>\n"), r1)


def test_a_program_with_tests_needs_no_reference_answer(tmp_path: Path, tiny_tokenizer: Tokenizer) -> None:
    path = tmp_path / "mixed.jsonl"
    rows = [
        {"question": "1 + 2", "answer": "3", "kind": "math", "tests": None},
        {"question": "2 + 2", "answer": None, "kind": "code", "tests": '[{"stdin": "", "stdout": "4"}]'},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = DatasetConfig(source=str(path), template="plain")
    assert [prompt.answer for prompt in load_prompts(config, tiny_tokenizer)] == ["3", None]
    path.write_text(json.dumps(rows[0] | {"answer": None}) + "\n")
    with pytest.raises(DataError, match="line 1: answer = None: no reference answer"):
        load_prompts(config, tiny_tokenizer)
