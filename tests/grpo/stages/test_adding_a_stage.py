"""A stage of another package, CONTRIBUTING.md's example as it stands there: one file and one entry point."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import command, environment

ROOT = Path(__file__).resolve().parents[3]
Run = Callable[..., subprocess.CompletedProcess[str]]
ROWS = ["a", "b", "a", "a", "c", "b"]


def example() -> str:
    """The stage's file: the section's block of Python."""
    section = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("## Adding a stage\n")[2]
    found = re.search(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def install(folder: Path, entry_point: str) -> None:
    """What `pip install` leaves of a package with that entry point."""
    (folder / "dedupe_stage.py").write_text(example())
    info = folder / "dedupe_stage-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dedupe-stage\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[grpo.stages]\n{entry_point}\n")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `grpo …` in tmp_path, where tmp_path/package is installed."""
    (tmp_path / "package").mkdir()
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ROWS))
    path = os.pathsep.join([str(tmp_path / "package"), str(ROOT)])

    def grpo(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*words),
            capture_output=True, text=True, timeout=120, cwd=tmp_path, env=environment() | {"PYTHONPATH": path},
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return grpo


def kept(folder: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_a_stage_of_another_package_is_a_command(run: Run, tmp_path: Path) -> None:
    install(tmp_path / "package", "dedupe = dedupe_stage:STAGE")
    (tmp_path / "dedupe.toml").write_text('stage = "dedupe"\nrun_dir = "out"\nsource = "rows.jsonl"\n')
    assert re.search(r"dedupe +Leave out texts that come again\.", run("--help").stdout)
    described = run("dedupe", "--help").stdout
    assert "--keep" in described
    assert "grpo dedupe dedupe.toml --keep 2" in described
    assert "--address" not in described
    assert "kept 3 of 6 rows" in run("dedupe", "dedupe.toml").stdout
    assert kept(tmp_path / "out") == ["a", "b", "c"]
    assert "is complete; nothing to do" in run("dedupe", "dedupe.toml").stdout
    run("dedupe", "dedupe.toml", "--keep", "2", "--set", "run_dir=two")
    assert kept(tmp_path / "two") == ["a", "b", "a", "c", "b"]
    assert "keep = 0" in run("dedupe", "dedupe.toml", "--keep", "0", code=1).stderr


def test_a_stage_of_another_package_is_a_node_and_is_planned(run: Run, tmp_path: Path) -> None:
    """Each node runs in a process of its own, which must find the stage too."""
    install(tmp_path / "package", "dedupe = dedupe_stage:STAGE")
    (tmp_path / "graph.toml").write_text(
        """
[graph]
run_dir = "run"
[stages.twice]
command = "dedupe"
set = { source = "rows.jsonl", keep = 2 }
[stages.once]
command = "dedupe"
set = { source = "{twice.rows}" }
gate = { metric = "kept", at_least = 3 }
plan = { examples = 5, tokens = 1 }
"""
    )
    assert re.search(r"once\W+dedupe\W+5\b", run("plan", "graph.toml").stdout), "the workload's prompts"
    first = run("run", "graph.toml").stdout
    assert re.search(r"twice +dedupe +done .*kept 5 of 6 rows", first)
    assert re.search(r"once +dedupe +done .*kept 3 of 5 rows", first)
    assert kept(tmp_path / "run" / "once") == ["a", "b", "c"]
    assert re.search(r"twice +dedupe +kept .*kept 5 of 6 rows", run("run", "graph.toml").stdout)
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"text": "d"}\n')
    again = run("run", "graph.toml").stdout
    assert re.search(r"once +dedupe +done .*kept 4 of 6 rows", again), "its input counts by content"
    planned = run("plan", "graph.toml", "--rates", "run").stdout
    assert "2 of 2 stages" in planned
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "kept 4 of 6 rows" in page


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("dedupe = dedupe_stage:NONE", r"stage dedupe \(dedupe_stage:NONE\) cannot be loaded: .*NONE"),
        ("dedupe = no_such_module:STAGE", r"cannot be loaded: No module named 'no_such_module'"),
        (
            "dedup = dedupe_stage:STAGE",
            r"stage dedup: dedupe_stage:STAGE is .*, not a Stage with name='dedup'",
        ),
        ("dedupe = dedupe_stage:run", r"is <function run .*, not a Stage with name='dedupe'"),
    ],
)
def test_a_stage_that_cannot_be_loaded_says_why_and_spares_the_others(
    run: Run, tmp_path: Path, entry_point: str, message: str
) -> None:
    install(tmp_path / "package", entry_point)
    name = entry_point.partition(" ")[0]
    assert re.search(message, run(name, code=1).stderr)
    listed = run("--help").stdout
    assert re.search(rf"{name} +Cannot be loaded", listed)
    assert "Reinforcement learning by GRPO" in listed


def test_two_stages_of_one_name_are_refused(run: Run, tmp_path: Path) -> None:
    install(tmp_path / "package", "sft = dedupe_stage:STAGE")
    message = r"two stages are called 'sft': grpo\.stages\.sft:STAGE and dedupe_stage:STAGE"
    assert re.search(message, run("sft", code=1).stderr)


def test_the_example_loads_nothing_heavy() -> None:
    code = "import sys\nexec(sys.stdin.read())\nprint(sorted({'torch', 'ray', 'vllm'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="from __future__ import annotations\n" + example(),
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "[]\n"
