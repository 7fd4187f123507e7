"""The one schema of samples: what is written is what is read, whoever wrote it."""

from __future__ import annotations

import ast
import inspect
import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.common.errors import BrokenRun
from grpo.tracking import sample_row
from grpo.tracking.sample_parts import SampleParts
from grpo.tracking.sample_row import COLUMNS, SampleRow, group_rows
from grpo.tracking.samples import SampleWriter, phase_rows, read_columns, read_samples, write_samples
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup

DOCS = Path(__file__).resolve().parents[3] / "docs" / "data_stages.md"
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXT,
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "list<int32>": st.lists(st.integers(0, 2**31 - 1), max_size=4).map(lambda x: np.array(x, np.int32)),
}
REQUIRED = ("id", "stage", "step", "prompt_id", "index", "prompt", "completion", "tokens")
NAMES = st.sampled_from(["accuracy", "format", "tokens", "total", "plug.py:f", "zweiter"])


@st.composite
def rows_of_a_file(draw: st.DrawFn) -> list[SampleRow]:
    kept = draw(st.sampled_from([(), ("level",), ("tests", "level")]))
    made = []
    for _ in range(draw(st.integers(1, 4))):
        values = {
            name: draw(VALUES[kind] if name in REQUIRED else st.none() | VALUES[kind])
            for name, kind in COLUMNS.items()
        }
        made.append(
            SampleRow(
                **values,
                components=draw(st.dictionaries(NAMES, st.none() | VALUES["float64"], max_size=3)),
                kept={name: draw(st.none() | TEXT) for name in kept},
            )
        )
    return made


def plain(row: SampleRow) -> dict[str, Any]:
    """The row without what a file does not tell apart: arrays from lists, a component of no value from none."""
    found = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.as_dict().items()}
    return {k: v for k, v in found.items() if v is not None or k in COLUMNS}


@given(rows_of_a_file())
def test_what_is_written_is_what_is_read(rows: list[SampleRow]) -> None:
    with TemporaryDirectory() as folder:
        path = write_samples(Path(folder) / "step-000001.parquet", rows)
        read = list(read_samples(path))
        assert list(map(plain, read)) == list(map(plain, rows))
        names = {name for row in rows for name in row.components}
        assert all(set(row.components) == names for row in read)
        some = ["completion", "tokens"]
        assert list(read_columns(path, some)) == [{n: getattr(row, n) for n in some} for row in rows]


def group(prompt: str = "p0", first_seed: int = 7) -> ScoredGroup:
    columns = {"question": "2 + 2", "kind": "math", "level": 3}
    samples = tuple(
        Sample(prompt, i, np.array([i, 9], np.int32), np.full(2, -0.5, np.float32), f"text {i}", "stop",
               first_seed + i, 4, 5)
        for i in range(2)
    )  # fmt: skip
    asked = Prompt(prompt, "User: 2 + 2 Assistant: <think>", (1, 2), 4, columns, "chain", "<think>")
    return ScoredGroup(
        SampleGroup(asked, samples), (Score(1.0, {"accuracy": 1.0}), Score(0.0, {"accuracy": 0.0}))
    )


def test_every_stage_writes_the_same_columns(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path, resume_step=-1, model="hash")
    parts = SampleParts(tmp_path, ["accuracy"], [])
    parts.write(0, group_rows(group(), stage="sample", step=0, group_id="p0", model="hash"))
    parts.merge(1)
    files = [writer.write(3, [group()], {(0, 1): -1.0}), writer.write_eval(3, [group()]), parts.path]
    schemas = [pq.read_schema(path) for path in files]
    assert [schema.names for schema in schemas] == [[*COLUMNS, "accuracy"]] * 3
    assert schemas[0].equals(schemas[1])
    assert schemas[0].equals(schemas[2])
    tables = [list(read_samples(path)) for path in files]
    own = ("id", "stage", "step", "advantage", "discarded")
    shared = [[{k: v for k, v in plain(row).items() if k not in own} for row in rows] for rows in tables]
    assert shared[0] == shared[1] == shared[2]
    assert [[row.id for row in rows] for rows in tables] == [
        ["rl-3/0/0", "rl-3/0/1"],
        ["eval-3/0/0", "eval-3/0/1"],
        ["p0/0", "p0/1"],
    ]
    assert [row.advantage for rows in tables for row in rows] == [None, -1.0, None, None, None, None]
    first = tables[0][0]
    assert (first.completion, first.prefill, first.question, first.answer) == (
        "<think>text 0",
        "<think>",
        "2 + 2",
        "4",
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.sampled_from("abc"), min_size=1, max_size=4)), max_size=4
    )
)
def test_ids_are_unique_in_a_run_though_prompts_repeat(phases: list[tuple[int, list[str]]]) -> None:
    """The same prompt comes twice in a phase and in several; an evaluation stands at the same step as a phase."""
    steps = dict(phases)
    ids = [
        row.id
        for step, prompts in steps.items()
        for stage in ("rl", "eval")
        for row in phase_rows(step, stage, [group(name) for name in prompts], {})
    ]
    assert len(set(ids)) == len(ids)


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "step-000001.parquet"
    pq.write_table(pa.table({"prompt_text": ["q"]}), path)
    with pytest.raises(BrokenRun, match=r"step-000001\.parquet: no column 'id'; .* before 0\.2"):
        list(read_samples(path))
    path.write_bytes(b"PAR1")
    with pytest.raises(BrokenRun, match=r"step-000001\.parquet: "):
        list(read_samples(path))


@pytest.mark.parametrize(("components", "keep"), [(["a", "a"], []), ([], ["kind"]), (["level"], ["level"])])
def test_two_columns_of_one_name_are_refused(components: list[str], keep: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two columns of the samples would be called"):
        SampleParts(tmp_path, components, keep)


def test_a_prompt_without_a_column_that_is_kept_is_named() -> None:
    made = group_rows(group(), stage="sample", step=0, group_id="p0", model=None, keep=["level"])
    assert [row.kept for row in made] == [{"level": "3"}] * 2
    with pytest.raises(ValueError, match="prompt p0 of chain has no column 'colour'"):
        group_rows(group(), stage="sample", step=0, group_id="p0", model=None, keep=["colour"])


def test_nothing_sampled_has_no_mean_logprob() -> None:
    empty = Sample("p0", 0, np.empty(0, np.int32), np.empty(0, np.float32), "", "abort", 0, 0, 0)
    scored = ScoredGroup(SampleGroup(group().group.prompt, (empty,)), (Score(None, verdict="abstain"),))
    (row,) = group_rows(scored, stage="rl", step=1, group_id="x", model=None)
    assert row.mean_logprob is None
    assert row.tokens == 0
    assert not math.isnan(row.step)


def meanings() -> dict[str, str]:
    """The docstring behind each field of `SampleRow`."""
    (made,) = [
        node
        for node in ast.parse(inspect.getsource(sample_row)).body
        if isinstance(node, ast.ClassDef) and node.name == "SampleRow"
    ]
    found = {}
    for node, following in zip(made.body, made.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert isinstance(following, ast.Expr), f"{node.target.id} has no docstring"
            assert isinstance(following.value, ast.Constant)
            found[node.target.id] = str(following.value.value)
    return {name: text for name, text in found.items() if name in COLUMNS}


def test_the_table_in_the_docs_is_the_schema() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w<>]+) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)
    expected = [(name, COLUMNS[name], text.removesuffix(".")) for name, text in meanings().items()]
    assert list(meanings()) == list(COLUMNS)
    assert rows == expected
