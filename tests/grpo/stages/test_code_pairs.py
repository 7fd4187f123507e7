"""Programs with their tests' verdict become a reward model's training rows (DeepSeek-Coder-V2)."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from grpo.config.pairs import JudgeConfig, PairsConfig
from grpo.stages.pairs import run
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.sandbox import Sandbox

TESTS = [{"args": [2], "expected": 4}, {"args": [3], "expected": 6}]
PROGRAMS = {"x * 2": True, "x + x": True, "x * x": False, "x +": False}


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Completions as `grpo sample` writes them, the tests kept as text."""
    try:
        Sandbox.open().close()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    rows = [
        {
            "prompt_id": "p",
            "prompt": "Double x.",
            "completion": f"```python\ndef f(x):\n    return {body}\n```",
            "tests": json.dumps(TESTS),
            "entry_point": "f",
        }
        for body in PROGRAMS
    ]
    rows.append(rows[0] | {"prompt_id": "q", "tests": "[]"})
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def passes(completion: str) -> bool:
    return next(good for body, good in PROGRAMS.items() if f"return {body}\n" in completion)


def test_pairs_put_a_program_that_passes_before_one_that_fails(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.parquet"
    config = PairsConfig(
        source=str(samples), out=out, judge=JudgeConfig(name="code"), pairs_per_prompt=6, min_margin=0.0
    )
    counts = run(config.model_copy(update={"max_length_ratio": None}))
    pairs = pq.read_table(out).to_pylist()
    assert len(pairs) == counts["kept"] == 4
    assert all(passes(p["chosen"]) and not passes(p["rejected"]) for p in pairs)


def test_labels_are_the_verdicts_and_what_has_none_is_left_out(samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    counts = run(
        PairsConfig(source=str(samples), out=out, judge=JudgeConfig(name="code"), objective="pointwise")
    )
    rows = pq.read_table(out).to_pylist()
    assert {r["completion"]: bool(r["label"]) for r in rows} == {
        r["completion"]: passes(r["completion"]) for r in rows
    }
    assert (counts["label_1"], counts["label_0"], counts["unjudged"]) == (2, 2, 1)
