"""The same recipe on a Ray cluster that was started by hand, joined and by `grpo submit`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import make_base, outcome, run_grpo, write_recipe

pytestmark = [pytest.mark.engine, pytest.mark.ray]


def test_submitted_job_returns_its_exit_code_and_the_same_bits(
    cluster: tuple[str, str], tmp_path: Path
) -> None:
    gcs, jobs = cluster
    base = make_base(tmp_path)
    joined = write_recipe(tmp_path, base, tmp_path / "joined")
    submitted = write_recipe(tmp_path, base, tmp_path / "submitted")
    run_grpo("rl", joined, "--address", gcs)
    done = run_grpo("submit", submitted, "--address", jobs)
    assert "eval step 4" in done.stdout
    assert outcome(tmp_path / "submitted") == outcome(tmp_path / "joined")

    failed = run_grpo("submit", submitted, "--set", "algorithm.group_siz=2", "--address", jobs, check=False)
    assert failed.returncode == 1
    assert "did you mean algorithm.group_size?" in failed.stdout


def test_no_cluster_is_one_clear_error(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, tmp_path / "none", tmp_path / "run")
    failed = run_grpo("submit", recipe, "--address", "http://127.0.0.1:9", check=False)
    assert failed.returncode == 1
    assert "ray start --head" in failed.stderr
    assert "Traceback" not in failed.stderr
