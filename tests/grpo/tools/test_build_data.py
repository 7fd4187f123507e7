"""`grpo data build`: a builder's own values, a recipe's, the command's; files that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from data_recipes.builders.registry import BUILDERS
from data_recipes.errors import DataError
from grpo.cli import app
from grpo.common.errors import ConfigError
from grpo.tools.build_data import load, run
from tests.data_recipes.builders.public_rows import ROWS


def words(number: int) -> dict[str, Any]:
    return {
        "question": f"Box {number} holds {number} apples and {number} pears; how many fruits?",
        "answer": f"It is #### {2 * number}",
    }


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/gsm8k.jsonl").write_text("".join(json.dumps(words(n)) + "\n" for n in range(60)))
    (tmp_path / "sets/mmlu.jsonl").write_text(json.dumps(ROWS["mmlu"][0]) + "\n")
    held_out = {"problem": words(7)["question"]}
    (tmp_path / "sets/eval.jsonl").write_text(json.dumps(held_out) + "\n")
    path = tmp_path / "sets/mine.toml"
    path.write_text(
        'held_out = 0.2\n[[sources]]\nformat = "gsm8k"\nsource = "gsm8k.jsonl"\nlicence = "MIT"\n'
        '[[sources]]\nformat = "mmlu"\nsource = "mmlu.jsonl"\nlicence = "MIT"\n'
        '[[against]]\nsource = "eval.jsonl"\nfields = ["problem"]\n'
    )
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_file_and_its_manifest_agree_and_come_again_to_the_byte(recipe: Path) -> None:
    app(["data", "build", "r1-reasoning", "--sources", str(recipe)], standalone_mode=False)
    first = files(Path("data"))
    assert set(first) == {
        "reasoning.parquet", "reasoning.held-out.parquet", "reasoning.json", "reasoning.dropped.jsonl",
    }  # fmt: skip
    manifest = json.loads(first["reasoning.json"])
    train, held_out = (
        parquet.read_table(Path("data") / f"reasoning{part}.parquet").to_pylist()
        for part in ("", ".held-out")
    )
    assert (manifest["train"], manifest["held_out"]) == (len(train), len(held_out))
    assert len(train) + len(held_out) == 60
    assert manifest["sources"][0]["dropped"] == {"contaminated": 1}
    assert manifest["licences"] == {"MIT": 60}
    assert {row["kind"] for row in train + held_out} == {"math", "stem"}
    (dropped,) = map(json.loads, first["reasoning.dropped.jsonl"].splitlines())
    assert dropped["where"].endswith("gsm8k.jsonl, line 8")
    assert dropped["evaluation"] == "eval.jsonl"
    run("r1-reasoning", str(recipe), [])
    assert files(Path("data")) == first


def test_a_dry_run_and_a_build_that_fails_leave_what_was_there(recipe: Path) -> None:
    run("r1-reasoning", str(recipe), ["held_out=0.0"])
    first = files(Path("data"))
    assert "reasoning.held-out.parquet" not in first
    run("r1-reasoning", str(recipe), ["held_out=0.5"], dry_run=True)
    with (recipe.parent / "gsm8k.jsonl").open("a") as out:
        out.write('{"question": "No result?", "answer": "none"}\n')
    with pytest.raises(DataError, match=r"gsm8k.jsonl, line 61: answer = 'none'; expected a last line ####"):
        run("r1-reasoning", str(recipe), [])
    assert files(Path("data")) == first
    skipped = run("r1-reasoning", str(recipe), ['bad_rows="skip"', "held_out=0.0"])
    assert skipped["sources"][0]["bad"] == 1


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["sources=[]"], "sources: "),
        (["ngramm=3"], "unknown key ngramm"),
        (["most={general = 3}"], "most.general: r1-reasoning has the kinds math, code, stem, logic"),
        (["most={math = 0}"], "most: .*expected 1 or more"),
        (
            ["sources=[{format='gsmk8', source='a/b', licence='x'}]"],
            "sources.0.format = 'gsmk8' is not known",
        ),
        (["sources=[{format='gsm8k', source='a/b'}]"], "sources.0.licence"),
        (["out='rows.jsonl'"], "out = .*parquet"),
    ],
)
def test_a_wrong_key_is_named_before_a_row_is_read(overrides: list[str], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        load("r1-reasoning", None, overrides)


def test_builders_stand_alone_and_an_unknown_one_names_them() -> None:
    for name, builder in BUILDERS.items():
        _, config = load(name, None, [])
        assert len(config.sources) == len(builder.sources)
        assert dict(config.most) == dict(builder.most)
        assert {held_out.source for held_out in config.against} == {
            "HuggingFaceH4/aime_2024", "HuggingFaceH4/MATH-500",
        }  # fmt: skip
    with pytest.raises(ConfigError, match="no builder 'reasoning'; there are code, r1-reasoning"):
        load("reasoning", None, [])


def test_the_lists_name_every_builder_and_format(capsys: pytest.CaptureFixture[str]) -> None:
    app(["data", "list"], standalone_mode=False)
    out = capsys.readouterr().out
    assert all(name in out for name in (*BUILDERS, *ROWS))
