"""`grpo sample` on real vLLM and real Ray: killed in the middle, it ends with the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.tiny import command, environment, make_base, run_grpo

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.slow]

RECIPE = """
stage = "sample"
seed = 5
run_dir = "{run_dir}"
samples = 8
keep_columns = ["k"]

[policy]
model = "{model}"
compute_dtype = "float32"

[data]
source = "chain"
params = {{ count = 240 }}

[[mix]]
source = "chain"
split = "held-out"
params = {{ count = 20 }}

[[rewards]]
name = "accuracy"

[sampling]
max_tokens = 48

[engine]
chunk_groups = 20
max_sequences = 32
max_model_len = 256
kv_cache_gib = 0.1
threads = 1
"""


def write_recipe(folder: Path, model: Path) -> Path:
    folder.mkdir()
    recipe = folder / "sample.toml"
    recipe.write_text(RECIPE.format(model=model, run_dir=folder / "run"))
    return recipe


def test_killed_in_the_middle_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    run_grpo("sample", write_recipe(tmp_path / "whole", base))
    recipe = write_recipe(tmp_path / "cut", base)
    run_dir = tmp_path / "cut" / "run"
    for parts in (1, 5):
        with subprocess.Popen(
            command("sample", recipe), env=environment(), stdout=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 300
            while len(list(run_dir.glob("parts/0*.parquet"))) < parts:
                assert process.poll() is None, "it ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
    assert not (run_dir / "samples.parquet").exists()
    done = run_grpo("sample", recipe)
    assert "are done already" in done.stdout
    whole = tmp_path / "whole" / "run" / "samples.parquet"
    assert (run_dir / "samples.parquet").read_bytes() == whole.read_bytes()
    assert not (run_dir / "parts").exists()
    rows = parquet.read_table(whole).to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == 260 * 8
    assert {row["accuracy"] for row in rows} <= {0.0, 1.0}
    assert len({row["model"] for row in rows}) == 1
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["samples"] == len(rows)
    assert summary["tokens"] == sum(len(row["completion_ids"]) for row in rows)
    assert "nothing to do" in run_grpo("sample", recipe).stdout
