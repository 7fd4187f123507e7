"""Where rows come from: JSON arrays, patterns, lists, folders of save_to_disk, the hub's revision and streaming."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_recipes.config import DatasetConfig, source_name
from data_recipes.errors import DataError
from data_recipes.prompts.datasets import load_prompts, read_prompts
from data_recipes.prompts.rows import PeekedRows, read_rows
from policies.tokenizer import Tokenizer

ROWS = [{"question": f"{a} + 3", "answer": str(a + 3)} for a in range(5)]


def rows(source: Any, **keys: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(read_rows(DatasetConfig.model_validate({"source": source, **keys})))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_rows(here: Path, indent: int | None) -> None:
    (here / "a.json").write_text("\ufeff" + json.dumps(ROWS, indent=indent), encoding="utf-8")
    found = rows("a.json")
    assert [row for _, row in found] == ROWS
    assert found[2][0] == f"a.json, row 3 (line {10 if indent else 1})"
    with gzip.open(here / "a.json.gz", "wb") as file:
        file.write(json.dumps(ROWS).encode())
    assert [row for _, row in rows("a.json.gz")] == ROWS


def test_lines_in_a_json_file_are_rows_too(here: Path) -> None:
    (here / "a.json").write_text("\n".join(json.dumps(row) for row in ROWS))
    assert [row for _, row in rows("a.json")] == ROWS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), max_size=6), st.sampled_from([None, 1])
)
def test_an_array_is_what_json_reads(tmp_path_factory: Any, array: list[Any], indent: int | None) -> None:
    path = tmp_path_factory.getbasetemp() / "array.json"
    path.write_text(json.dumps(array, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert [row for _, row in rows(str(path))] == array


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"question": "1"},\n {"question": }]',
            r"a\.json, row 2 \(line 2\): not JSON at line 2, column 15",
        ),
        ('[{"question": "1"},\n 7]', r"row 2 \(line 2\): expected an object with fields, found 7"),
        ('[{"question": "1"}', r"after row 1: the array has no end; the file is cut short"),
        ('[{"question": "1"} {}]', r"row 1 \(line 1\): followed by '\{\}\]'; expected , or \]"),
        ('[{"question": "\\ud83d"}]', r"row 1 \(line 1\): not JSON that can be read .*surrogates"),
        ('{\n "question": }\n}', r"row 1 \(line 1\): not JSON at line 2, column 14"),
        (
            '[{"question": "1"}]\n[{"question": "2"}]',
            r"after row 1: behind the end of the array stands '\[\{",
        ),
        ('[{"question": "1"}] x', r"behind the end of the array stands 'x'"),
        (
            '{"version": 1, "data": [{}, {}]}',
            r"one object, whose field data holds 2 items; .*jq -c '\.data\[\]'",
        ),
        ('{\n"rows": []}\n', r"one object, whose field rows holds 0 items"),
    ],
)
def test_an_error_in_an_array_names_row_and_line(here: Path, text: str, message: str) -> None:
    (here / "a.json").write_text(text)
    with pytest.raises(DataError, match=message):
        rows("a.json")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@given(
    written=st.lists(
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), min_size=1), max_size=4
    ),
    indent=st.sampled_from([None, 0, 2]),
    ends=st.sampled_from(["\n", "\r\n"]),
    begin=st.sampled_from(["", "\ufeff", "\n\n"]),
    shape=st.sampled_from(["array", "one after another"]),
)
def test_rows_are_the_same_however_a_file_is_laid_out(
    tmp_path_factory: Any,
    name: str,
    written: list[Any],
    indent: int | None,
    ends: str,
    begin: str,
    shape: str,
) -> None:
    """Arrays and objects, indented or in a line each, with line ends of Windows and a byte order mark."""
    path = tmp_path_factory.getbasetemp() / name
    texts = [json.dumps(row, indent=indent, ensure_ascii=False) for row in written]
    text = json.dumps(written, indent=indent, ensure_ascii=False) if shape == "array" else "\n".join(texts)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(begin + text.replace("\n", ends))
    assert [row for _, row in rows(str(path))] == written


def test_a_broken_line_stays_the_error_of_that_line(here: Path) -> None:
    (here / "a.jsonl").write_text('{"question": \n{"question": "2"}\n[1]\n{"question": "3"}\n')
    bad: list[DataError] = []
    config = DatasetConfig(source="a.jsonl")
    assert [row["question"] for _, row in read_rows(config, bad.append)] == ["2", "3"]
    assert [str(error).partition(":")[0] for error in bad] == ["a.jsonl, line 1", "a.jsonl, line 3"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.parquet", "a.jsonl.gz"])
def test_a_pointer_of_git_lfs_is_named(here: Path, name: str) -> None:
    (here / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    with pytest.raises(
        DataError, match=rf"{name}: a pointer of Git LFS in place of the file; `git lfs pull`"
    ):
        rows(name)


@pytest.mark.parametrize("folder", ["[odd] ünï 模型", "a*b", "what?"])
def test_a_name_with_the_marks_of_a_pattern_is_read_as_it_is(here: Path, folder: str) -> None:
    (here / folder).mkdir()
    (here / folder / "part[1].jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    (here / folder / "part1.jsonl").write_text(json.dumps(ROWS[1]) + "\n")
    assert [row for _, row in rows(f"{folder}/part[1].jsonl")] == [ROWS[0]]
    assert [row for _, row in rows(f"./{folder}/")] == [ROWS[1], ROWS[0]]


def test_patterns_and_lists_are_read_in_order(here: Path) -> None:
    (here / "deep/er").mkdir(parents=True)
    for at, name in enumerate(("b.jsonl", "a.jsonl", "deep/er/c.jsonl", "d.txt")):
        (here / name).write_text(json.dumps(ROWS[at]) + "\n")
    assert [where for where, _ in rows("*.jsonl")] == ["a.jsonl, line 1", "b.jsonl, line 1"]
    assert [where for where, _ in rows("**/*.jsonl")][2] == "deep/er/c.jsonl, line 1"
    assert [row for _, row in rows(["b.jsonl", "deep/er/", "a.json*"])] == [ROWS[0], ROWS[2], ROWS[1]]
    with pytest.raises(DataError, match=r"x\*\.jsonl: no file matches; expected one of the endings"):
        rows("x*.jsonl")
    with pytest.raises(DataError, match=r"d\.\*: no file matches \(1 files have another ending\)"):
        rows("d.*")


def test_a_list_is_one_data_set(here: Path, tiny_tokenizer: Tokenizer) -> None:
    for name, part in (("a.jsonl", ROWS[:2]), ("b.jsonl", ROWS[1:])):
        (here / name).write_text("".join(json.dumps(row) + "\n" for row in part))
    config = DatasetConfig(source=("a.jsonl", "b.jsonl"))
    with pytest.raises(DataError, match=r"b\.jsonl, line 1: same question and answer as a\.jsonl, line 2"):
        load_prompts(config, tiny_tokenizer)
    loaded = load_prompts(config.model_copy(update={"duplicates": "drop"}), tiny_tokenizer)
    assert [prompt.answer for prompt in loaded] == ["3", "4", "5", "6", "7"]
    assert {prompt.source for prompt in loaded} == {"a.jsonl+b.jsonl"} == {source_name(config.source)}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("datta/rows.jsonl", r"no such file \(did you mean data/rows\.jsonl\?\)"),
        ("datta/z/z.jsonl", r"no such file \(did you mean data\?\)"),
        ("data/row.jsonl", r"no such file \(did you mean data/rows\.jsonl\?\)"),
        ("data/rows.jsnl", r"no such file \(did you mean data/rows\.jsonl\?\), and not a name on the hub"),
        ("data/rows.csv", r"no such file .*, and not a name on the hub; files end with \.jsonl"),
        ("dat/", r"no folder with files .*\(did you mean data\?\)"),
        ("data", r'data: a folder here; write source = "data/" to read it'),
    ],
)
def test_a_missing_file_names_the_nearest(here: Path, source: str, message: str) -> None:
    (here / "data").mkdir()
    (here / "data/rows.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(DataError, match=message):
        rows(source)


def test_folders_of_save_to_disk(here: Path) -> None:
    import datasets

    table = datasets.Dataset.from_list(ROWS)
    table.save_to_disk("one")
    datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk("both")
    assert [row for _, row in rows("one/")] == ROWS
    assert rows(str(here / "one"))[0][0] == f"{here / 'one'}, row 1", "an absolute path needs no slash"
    assert [where for where, _ in rows("both/", split="test")] == ["both test, row 1"]
    assert len(rows("both/")) == 5
    with pytest.raises(DataError, match=r"both: split = 'dev'; it has train, test: set split to one"):
        rows("both/", split="dev")
    with pytest.raises(DataError, match=r"one: split = 'train', but it holds one data set without splits"):
        rows("one/", split="train")
    (here / "files").mkdir()
    with pytest.raises(DataError, match=r"split = 'train': not a folder of save_to_disk"):
        rows("files/", split="train")


def test_the_hub_is_asked_once_for_revision_and_stream(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    """The library is replaced at its boundary: there is no network here."""
    import datasets

    asked: list[Any] = []

    def fake(name: str, subset: str | None, **options: Any) -> Any:
        asked.append((name, subset, options))
        return datasets.Dataset.from_list(ROWS).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", fake)
    config = DatasetConfig(source="openai/gsm8k", subset="main", revision="v1", streaming=True, limit=2)
    peeked = PeekedRows(config)
    assert [row for _, row in peeked.read(lambda _: None)] == ROWS
    assert asked == [("openai/gsm8k", "main", {"split": "train", "revision": "v1", "streaming": True})]


def test_a_name_that_the_hub_does_not_give_says_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match=r"no/such: the hub gave no split 'dev' of subset 'm' of revision 'v1' \("
    ):
        rows("no/such", subset="m", split="dev", revision="v1")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": []}, "at least one source"),
        ({"source": ["a.jsonl", ""]}, "at least one source"),
        ({"source": ["a.jsonl", "chain"]}, "several sources must be files"),
        ({"source": ["openai/gsm8k", "a.jsonl"]}, "several sources must be files"),
        ({"source": "a.jsonl", "revision": "v1"}, "revision = 'v1' is read for hub data sets only"),
        ({"source": "a.jsonl", "streaming": True}, "streaming = True is read for hub data sets only"),
        ({"source": "a.jsonl", "chat_template_kwargs": {"x": 1}, "template": "plain"}, "chat_template_kwargs are"),
    ],
)  # fmt: skip
def test_keys_that_do_not_fit_a_source(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        DatasetConfig.model_validate(keys)


def test_the_order_of_errors_is_that_of_the_rows(here: Path) -> None:
    lines = [json.dumps(ROWS[0]), "{", json.dumps(ROWS[1])]
    (here / "a.jsonl").write_text("\n".join(lines * 40))
    seen: list[str] = []
    for where, _ in PeekedRows(DatasetConfig(source="a.jsonl")).read(lambda error: seen.append(str(error))):
        seen.append(where)
    assert [int(re.findall(r"line (\d+)", text)[0]) for text in seen] == list(range(1, 121))


def test_the_reading_of_verl_rows_is_told(here: Path, tiny_tokenizer: Tokenizer) -> None:
    row = {
        "data_source": "gsm8k",
        "prompt": [{"role": "user", "content": "7 * 4"}],
        "reward_model": {"style": "rule", "ground_truth": "28"},
        "extra_info": {"index": 3},
    }
    (here / "a.json").write_text(json.dumps([row]))
    loaded = read_prompts(DatasetConfig(source="a.json", template="plain"), tiny_tokenizer)
    assert loaded.layout.show() == "verl: prompt ← prompt (messages), answer ← reward_model.ground_truth"
    (prompt,) = loaded.prompts
    assert (prompt.text, prompt.answer) == ("7 * 4", "28")
    assert prompt.columns["data_source"] == "gsm8k"
    assert prompt.columns["extra_info"] == {"index": 3}
