"""`--dry-run` of every stage: all is checked, plan and examples are printed, nothing is started and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.cli import app
from grpo.common.console import set_quiet
from grpo.stages.preview import preview_text
from grpo.stages.registry import STAGES
from tests.tiny import make_base, write_recipe

SCORED = {
    "id": "s1",
    "prompt_id": "p1",
    "prompt": "User: What is 6 * 7? Assistant:",
    "question": "What is 6 * 7?",
    "completion": "<think>six times seven</think><answer>42</answer>",
    "accuracy": 1.0,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(path: Path, *found: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def recipe(folder: Path, base: Path, stage: str) -> str:
    """A recipe of the stage whose inputs are all there."""
    head = f'stage = "{stage}"\n'
    policy = f'policy = {{ model = "{base}" }}\n'
    if stage == "rl":
        return str(write_recipe(folder, base, folder / "run"))
    if stage == "pretrain":
        return "tiny-base"
    path = folder / f"{stage}.toml"
    prompts = 'source = "chain", template = "r1-zero", params = { count = 8 }'
    pair = {"prompt": "1 + 1?", "chosen": "2", "rejected": "3"}
    reply = {"prompt": "7 * 4 + 3 = ", "completion": "1 result 1"}
    body = {
        "sample": f'run_dir = "run"\n{policy}data = {{ {prompts} }}\nrewards = [{{ name = "accuracy" }}]\n'
        "sampling = { max_tokens = 8 }\n",
        "eval": f'run_dir = "run"\n{policy}rewards = [{{ name = "accuracy" }}]\n'
        f"eval = {{ data = {{ {prompts} }}, max_tokens = 8 }}\n",
        "sft": f'run_dir = "run"\n{policy}data = {{ source = "{rows(folder / "sft.jsonl", reply)}" }}\n',
        "distill": f'run_dir = "run"\n{policy}data = {{ source = "{rows(folder / "d.jsonl", reply)}" }}\n',
        "reward-model": f'run_dir = "run"\nobjective = "pairwise"\n{policy}'
        f'data = {{ source = "{rows(folder / "pairs.jsonl", pair)}", reads = "response" }}\n',
        "curate": f'out = "out/rows.parquet"\nsources = ["{rows(folder / "scored.jsonl", SCORED)}"]\n'
        "min_language_share = false\n",
        "decontaminate": 'out = "out/rows.parquet"\n'
        f'sources = ["{rows(folder / "all.jsonl", SCORED, {"question": "6 * 9"})}"]\n'
        f'against = [{{ source = "{rows(folder / "held-out.jsonl", {"question": "6 * 9"})}" }}]\n',
        "pairs": f'out = "out/pairs.parquet"\nsource = "'
        f'{rows(folder / "two.jsonl", SCORED, SCORED | {"completion": "41"})}"\njudge = {{ name = "format" }}\n',
    }
    path.write_text(head + body[stage])
    return str(path)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_dry_run_shows_plan_and_examples_and_writes_nothing(
    stage: str, folder: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [stage, recipe(folder, base, stage), "--dry-run"]
    before = tree(folder)
    app(arguments, standalone_mode=False)
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "dry run: nothing was started, nothing was written"
    assert "│" in out, "no example"
    expected = {
        "rl": ("reward accuracy: built in", ":digits: ", "prompt 1 of 64", "8 held out"),
        "sample": ("reward accuracy: built in", "prompt 1 of 8", "8 prompts × 4 = 32 samples"),
        "eval": ("8 questions × 16 = 128 samples; right: accuracy",),
        "sft": ("example 1 of 1", "= ▸1 result 1", "1 examples"),
        "distill": ("example 1 of 1", "lr"),
        "reward-model": ("chosen", "rejected"),
        "curate": ("'kept': 1", "42</answer>"),
        "decontaminate": ("'kept': 1", "│ 6 * 9", "held-out.jsonl"),
        "pairs": ("1 to judge", "completion 1 to judge"),
        "pretrain": ("5,000 updates at most", "document 1"),
    }
    for text in expected[stage]:
        assert text in out
    assert tree(folder) == before


def test_a_dry_run_finds_what_the_run_would(folder: Path, base: Path) -> None:
    path = recipe(folder, base, "sft")
    (folder / "sft.jsonl").write_text('{"prompt": 3, "completion": "x"}\n')
    with pytest.raises(ValueError, match=r"sft\.jsonl, line 1"):
        app(["sft", path, "--dry-run"], standalone_mode=False)
    with pytest.raises(ValueError, match=r"no reward .acuracy.*did you mean accuracy"):
        app(
            ["rl", recipe(folder, base, "rl"), "--dry-run", "--set", "rewards.1.name=acuracy"],
            standalone_mode=False,
        )


def test_a_graph_is_checked_and_planned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app(["run", "r1-tiny", "--dry-run"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "eval-llama-distilled" in out
    assert out.splitlines()[-1] == "dry run: nothing was started, nothing was written"
    assert tree(folder) == set()


def test_an_unfinished_run_is_named(folder: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(folder, base, "sample")
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text("{}")
    app(["sample", path, "--dry-run"], standalone_mode=False)
    assert "run holds a run that has begun: without --dry-run it goes on" in capsys.readouterr().out


def test_quiet_prints_nothing(folder: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        app(["-q", "sft", recipe(folder, base, "sft"), "--dry-run"], standalone_mode=False)
        app(["sft", recipe(folder, base, "sft"), "--dry-run", "--quiet"], standalone_mode=False)
    finally:
        set_quiet(False)
    assert capsys.readouterr().out == ""


def test_a_long_text_is_cut_in_its_middle(capsys: pytest.CaptureFixture[str]) -> None:
    preview_text("t", "a" * 5000 + "[bold]" + "b" * 5000, {"n": 3})
    out = capsys.readouterr().out
    assert "… 8,006 characters …" in out
    assert "n = 3" in out
