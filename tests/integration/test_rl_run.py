"""The real command on real vLLM and real Ray: it runs, it repeats, it survives being killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from grpo.tracking.ledger_file import read_ledger
from tests.examples.test_examples import run_example
from tests.integration.conftest import Cluster
from tests.tiny import command, environment, make_base, outcome, run_grpo, wait_for_rows, write_recipe

pytestmark = [pytest.mark.engine, pytest.mark.ray]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def uninterrupted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_grpo("rl", write_recipe(folder, base, folder / "run"))
    return folder / "run"


def test_a_run_leaves_what_the_map_says(uninterrupted: Path) -> None:
    names = {p.name for p in uninterrupted.iterdir()}
    assert {
        "config.json",
        "manifest.json",
        "metrics.jsonl",
        "eval.jsonl",
        "summary.json",
        "policy",
        "report.html",
        "activity.jsonl",
    } <= names
    done = [json.loads(line) for line in (uninterrupted / "activity.jsonl").read_text().splitlines()]
    parts = {"eval", "rollout", "reward", "old_ref", "learn", "sync", "checkpoint"}
    assert {row["part"] for row in done} == parts | {""}
    rows = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == [1, 2, 3, 4]
    assert rows[-1]["logprob_mismatch/max"] < 1e-4
    assert any(r["grad_norm"] > 0 for r in rows)
    summary = json.loads((uninterrupted / "summary.json").read_text())
    assert {
        "base_pass1",
        "final_pass1",
        "final_format",
        "minutes",
        "seed",
        "logprob_mismatch_max",
    } <= summary.keys()


def test_the_example_reads_the_run(uninterrupted: Path) -> None:
    lines = run_example("read_run", str(uninterrupted))
    assert re.fullmatch(r"held-out pass@1 0\.\d{3} -> 0\.\d{3}, seed 5", lines[0])
    assert [line.partition(":")[0] for line in lines[1:-2]] == ["step 2", "step 4"]  # two updates a phase
    assert [line.partition(":")[0] for line in lines[-2:]] == ["worst of step 4", "best of step 4"]


def test_rewards_are_watched_by_metrics_guards_and_report(uninterrupted: Path) -> None:
    rows = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    phases = [row for row in rows if "reward/total" in row]
    for row in phases:
        assert row["reward_share/accuracy"] + row["reward_share/digits"] == pytest.approx(1.0)
        assert -1.0 <= row["length_corr/digits"] <= 1.0
        assert sum(value for name, value in row.items() if name.startswith("audit/")) == 32
    page = (uninterrupted / "report.html").read_text()
    assert "digits: mean" in page
    assert "second verifier of accuracy: agrees on" in page


def test_export_loads_in_transformers_and_differs_from_the_base(uninterrupted: Path, base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    trained = AutoModelForCausalLM.from_pretrained(uninterrupted / "policy", dtype=torch.float32).state_dict()
    untrained = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).state_dict()
    assert trained.keys() == untrained.keys()
    assert any(not torch.equal(trained[k], untrained[k]) for k in trained)


def test_a_finished_run_does_nothing_again(uninterrupted: Path) -> None:
    before = outcome(uninterrupted)
    done = run_grpo("rl", uninterrupted.parent / "run.toml")
    assert "nothing to do" in done.stdout
    assert outcome(uninterrupted) == before


def _end(process: subprocess.Popen[bytes], number: int) -> None:
    os.kill(process.pid, number)
    process.wait(timeout=60)


def test_killed_it_resumes_to_the_same_bits(
    base: Path, uninterrupted: Path, cluster: Cluster, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, base, tmp_path / "run")
    joined = environment(cluster.address)
    with subprocess.Popen(command("rl", recipe), env=joined, stdout=subprocess.DEVNULL) as process:
        wait_for_rows(tmp_path / "run", 2, process)
        _end(process, signal.SIGKILL)
    assert not (tmp_path / "run" / "summary.json").exists()
    run_grpo("rl", recipe, cluster=cluster.address)
    assert outcome(tmp_path / "run") == outcome(uninterrupted)


@pytest.mark.slow
def test_killed_early_and_interrupted_it_resumes_to_the_same_bits(
    base: Path, uninterrupted: Path, cluster: Cluster, tmp_path: Path
) -> None:
    """SIGKILL before the first update, then SIGTERM to every process, as Slurm ends a job.

    No checkpoint is due before the end of the second try, so the one found is the signal's.
    """
    recipe = write_recipe(tmp_path, base, tmp_path / "run")
    joined = environment(cluster.address)
    with subprocess.Popen(command("rl", recipe), env=joined, stdout=subprocess.DEVNULL) as process:
        while not (tmp_path / "run" / "eval.jsonl").exists():
            assert process.poll() is None
            time.sleep(0.02)
        _end(process, signal.SIGKILL)
    assert not (tmp_path / "run" / "summary.json").exists()

    words = command("rl", recipe, "--set", "checkpoint.every_phases=100")
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE) as process:
        wait_for_rows(tmp_path / "run", 2, process)
        driver = psutil.Process(process.pid)
        for one in (driver, *driver.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=90)
    assert process.returncode == 75, error.decode()
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert int(checkpoint.name.removeprefix("step-")) in (2, 4)
    assert b"interrupted by SIGTERM: checkpoint of step" in error
    assert b"Traceback" not in error

    run_grpo("rl", recipe, cluster=cluster.address)
    assert outcome(tmp_path / "run") == outcome(uninterrupted)


OWN_FUNCTIONS = """
import torch

from grpo.algorithm.advantages import std as advantages


def k3(logprobs, ref_logprobs):
    difference = logprobs - ref_logprobs
    return torch.expm1(-difference) + difference
"""


def test_own_functions_and_a_killed_rollout_worker_give_the_same_bits_as_a_job(
    base: Path, uninterrupted: Path, cluster: Cluster, tmp_path: Path
) -> None:
    """The user's functions say what the built-in ones say, so the run must be the one without them.

    A killed worker costs only its chunk.
    """
    file = tmp_path / "own_functions.py"
    file.write_text(OWN_FUNCTIONS)
    recipe = write_recipe(tmp_path, base, tmp_path / "run")
    keys = (
        f"algorithm.kl_estimator={file}:k3",
        f"algorithm.advantage={file}:advantages",
    )
    words = ("submit", recipe, "--address", cluster.jobs, *(word for key in keys for word in ("--set", key)))
    with subprocess.Popen(
        command(*words), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_for_rows(tmp_path / "run", 2, process)
        (victim,) = rollout_workers(cluster)
        victim.kill()
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert "eval step 4" in said
    assert outcome(tmp_path / "run") == outcome(uninterrupted)
    delivered: dict[str, int] = {}
    for row in read_ledger(tmp_path / "run" / "ledger.jsonl"):
        delivered[row.chunk] = delivered.get(row.chunk, 0) + row.groups
    assert set(delivered.values()) <= {4}
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["worker_restarts"] == 1


def rollout_workers(cluster: Cluster) -> list[psutil.Process]:
    """The processes of engines below the cluster's own."""
    return [
        p for p in psutil.Process(cluster.pid).children(recursive=True)
        if any("RolloutWorker" in word for word in p.cmdline())
    ]  # fmt: skip


def test_a_job_that_fails_and_no_cluster_are_one_clear_error(cluster: Cluster, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, tmp_path / "none", tmp_path / "run")
    words = ("submit", recipe, "--set", "algorithm.group_siz=2", "--address")
    failed = run_grpo(*words, cluster.jobs, check=False)
    assert failed.returncode == 1
    assert "did you mean algorithm.group_size?" in failed.stdout
    failed = run_grpo(*words, "http://127.0.0.1:9", check=False)
    assert failed.returncode == 1
    assert "ray start --head" in failed.stderr
    assert "Traceback" not in failed.stderr


TWO = ("--set", "engine.workers=2", "--set", "learner.ranks=2")


@pytest.fixture(scope="module")
def two(base: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Outcome of a run of two engines and two ranks on one node."""
    folder = tmp_path_factory.mktemp("two")
    run_grpo("rl", write_recipe(folder, base, folder / "run"), "--address", cluster.address, *TWO)
    return outcome(folder / "run")


@pytest.mark.slow
def test_two_workers_and_two_ranks_learn_the_same_to_rounding(
    uninterrupted: Path, two: dict[str, Any]
) -> None:
    one = outcome(uninterrupted)
    first = "samples/step-000002.parquet"
    assert [r["completion"] for r in two["samples"][first]] == [
        r["completion"] for r in one["samples"][first]
    ]
    for key in ("loss", "grad_norm", "policy/kl"):
        assert two["metrics"][0][key] == pytest.approx(one["metrics"][0][key], rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_engines_on_a_second_node_that_is_lost_give_the_same_bits(
    base: Path,
    cluster: Cluster,
    second_node: subprocess.Popen[bytes],
    two: dict[str, Any],
    tmp_path: Path,
) -> None:
    recipe = write_recipe(tmp_path, base, tmp_path / "run")
    apart = (*TWO, "--set", "placement=disaggregated", "--set", "engine.transport=gloo")
    words = command("rl", recipe, "--address", cluster.address, *apart)
    log = tmp_path / "log"
    with (
        log.open("w") as out,
        subprocess.Popen(words, stdout=out, stderr=out, env=environment()) as process,
    ):
        wait_for_rows(tmp_path / "run", 2, process)
        node = psutil.Process(second_node.pid)
        everything = [*node.children(recursive=True), node]
        lost = [p for p in everything if any("RolloutWorker" in word for word in p.cmdline())]
        assert len(lost) == 2, "the engines are not where the placement puts them"
        for one in everything:
            one.kill()
        assert process.wait(timeout=300) == 0, log.read_text()
    assert outcome(tmp_path / "run") == two
    rows = read_ledger(tmp_path / "run" / "ledger.jsonl")
    assert any(row.state == "lost" for row in rows)
    done = [row.chunk for row in rows if row.state == "done"]
    assert sorted(done) == sorted({row.chunk for row in rows}), "a prompt was lost, or trained on twice"
