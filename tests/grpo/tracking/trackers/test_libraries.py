"""The trackers against their real libraries, offline: what those have written, read back by their own means.

A library that is not installed skips its test: none is needed to use this project, and together they are 130 MB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grpo.tracking.trackers.mlflow import metric_name
from grpo.tracking.trackers.registry import is_installed
from grpo.tracking.trackers.tracker import flat
from policies.settings import Settings

ROOT = Path(__file__).resolve().parents[4]
RUN = """
import sys
from pathlib import Path
from grpo.tracking.metrics import MetricsWriter
from grpo.tracking.trackers.process import tracked
from tests.grpo.tracking.trackers.test_libraries import Config

tracker, run_dir, resume, last, fails = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
with tracked([tracker], run_dir, Config(), resume):
    writer = MetricsWriter(run_dir, resume, tensorboard=False)
    if resume < 0:
        writer.write_eval({"step": 0, "pass1": 0.25, "consk": 0.5})
    for step in range(max(resume, 0) + 1, last + 1):
        writer.write(step, {"loss": 1.0 / step, "policy/kl": 0.5, "reward/total": float("nan")})
    writer.write_eval({"step": last, "pass1": 0.75, "consk": 1.0})
    if fails == "fails":
        raise SystemExit(3)
"""
LOSS = {step: 1.0 / step for step in range(1, 7)}
PASS1 = {0: 0.25, 5: 0.75, 6: 0.75}


class Optimizer(Settings):
    lr: float = 3e-6


class Config(Settings):
    """A recipe with a section."""

    seed: int = 7
    optimizer: Optimizer = Optimizer()


def python(code: str, env: dict[str, str], *arguments: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == expect, done.stderr + done.stdout
    assert "warning" not in done.stdout, done.stdout
    return done.stdout


def interrupted_and_resumed(tracker: str, run_dir: Path, env: dict[str, str]) -> None:
    """Steps 1 to 5, then a failure; from the checkpoint at 3 on to 6."""
    python(RUN, env, tracker, str(run_dir), "-1", "5", "fails", expect=3)
    python(RUN, env, tracker, str(run_dir), "3", "6", "ends")


def needs(library: str) -> None:
    if not is_installed(library):
        pytest.skip(f"{library} is not installed; `pip install 'r1-workbench[{library}]'` runs this test")


def test_wandb_offline(tmp_path: Path) -> None:
    needs("wandb")
    run_dir = tmp_path / "demo"
    interrupted_and_resumed("wandb", run_dir, {"WANDB_MODE": "offline", "WANDB_PROJECT": "maths"})
    code = (
        "import json, sys; from pathlib import Path; from tests.grpo.tracking.trackers.read_wandb import offline_run\n"
        "folders = sorted(Path(sys.argv[1]).glob('wandb/offline-run-*'))\n"
        "print(json.dumps([offline_run(f) for f in folders]))"
    )
    first, second = json.loads(python(code, {}, str(run_dir)))
    assert first["id"] == second["id"]
    assert {(run["project"], run["name"]) for run in (first, second)} == {("maths", "demo")}
    assert (first["exit"], second["exit"]) == (1, 0)
    assert first["config"]["optimizer"] == {"lr": 3e-6}
    history = first["history"] + second["history"]
    assert {row["_step"]: row["loss"] for row in history if "loss" in row} == pytest.approx(LOSS)
    assert {row["_step"]: row["eval/pass@1"] for row in history if "eval/pass@1" in row} == PASS1
    steps = [row["_step"] for row in history]
    assert steps == sorted(set(steps)) == list(range(7))
    assert not any("reward/total" in row for row in history)


def test_mlflow_in_a_local_store(tmp_path: Path) -> None:
    needs("mlflow")
    needs("sqlalchemy")
    run_dir, store = tmp_path / "demo", f"sqlite:///{tmp_path}/mlflow.db"
    interrupted_and_resumed(
        "mlflow", run_dir, {"MLFLOW_TRACKING_URI": store, "MLFLOW_EXPERIMENT_NAME": "maths"}
    )
    code = (
        "import json, sys; from mlflow import MlflowClient\n"
        "c = MlflowClient(tracking_uri=sys.argv[1], registry_uri=sys.argv[1])\n"
        "e = c.get_experiment_by_name('maths')\n"
        "runs = [(r.info.run_id, r.info.run_name, r.info.status, r.data.params)"
        " for r in c.search_runs([e.experiment_id])]\n"
        "history = {k: [(m.step, m.value) for m in c.get_metric_history(runs[0][0], k)]"
        " for k in ('loss', 'eval/pass_at_1', 'reward/total')}\n"
        "print(json.dumps([runs, history]))"
    )
    ((_, name, status, params),), history = json.loads(python(code, {}, store))
    assert (name, status) == ("demo", "FINISHED")
    assert params["optimizer.lr"] == "3e-06"
    assert [tuple(row) for row in history["loss"]] == sorted(LOSS.items())
    assert dict(history["eval/pass_at_1"]) == PASS1
    assert history["reward/total"] == []


def test_trackio_in_a_local_store(tmp_path: Path) -> None:
    needs("trackio")
    env = {"TRACKIO_DIR": str(tmp_path / "store"), "TRACKIO_PROJECT": "maths"}
    for name in ("a", "b"):  # two runs whose folders have the same name
        interrupted_and_resumed("trackio", tmp_path / name / "demo", env)
    code = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as s\n"
        "print(json.dumps([[r['name'], s.get_logs('maths', r['name'], run_id=r['id'])]"
        " for r in s.get_run_records('maths')]))"
    )
    runs = json.loads(python(code, env).splitlines()[-1])
    assert len(runs) == 2
    for name, rows in runs:
        assert name.startswith("demo-")
        losses = [(row["step"], row["loss"]) for row in rows if "loss" in row]
        assert losses == sorted(LOSS.items())
        assert {row["step"]: row["eval/pass@1"] for row in rows if "eval/pass@1" in row} == PASS1


def test_tensorboard_has_the_same_names_and_steps(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from grpo.tracking.metrics import MetricsWriter

    for resume, last in ((-1, 5), (3, 6)):
        writer = MetricsWriter(tmp_path, resume)
        if resume < 0:
            writer.write_eval({"step": 0, "pass1": 0.25})
        for step in range(max(resume, 0) + 1, last + 1):
            writer.write(step, {"loss": 1.0 / step})
        writer.write_eval({"step": last, "pass1": 0.75})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {e.step: e.value for e in events.Scalars("loss")} == pytest.approx(LOSS)
    # TensorBoard forgets the steps that are done again, the evaluation of step 5 with them.
    assert {e.step: e.value for e in events.Scalars("eval/pass@1")} == {0: 0.25, 6: 0.75}


def test_names_for_mlflow() -> None:
    assert metric_name("eval/pass@1") == "eval/pass_at_1"
    assert metric_name("reward/länge[x]") == "reward/l_nge_x_"
    assert metric_name("logprob_mismatch/max") == "logprob_mismatch/max"


def test_a_flat_config_has_dotted_keys() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": []}, "e": {}}) == {"a.b.c": 1, "a.d": [], "e": {}}
