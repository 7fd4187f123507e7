from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from grpo.common.errors import BrokenRun
from grpo.tracking.metrics import MetricsWriter
from grpo.tracking.report.figures import MAX_ROWS_PER_STEP, curve, spread
from grpo.tracking.report.page import collect, embed, write_report
from grpo.tracking.samples import SampleWriter
from rewards.types import Score
from tests.grpo.tracking.test_metrics import scored_group

HOSTILE = "</script><script>alert(1)</script><!-- & \u2028"


def evaluation(step: int, pass1: float) -> dict[str, Any]:
    shares = {
        "pass1": pass1,
        "ci_low": pass1 - 0.05,
        "ci_high": pass1 + 0.05,
        "passk": pass1 + 0.1,
        "consk": pass1,
    }
    return {"step": step, **shares, "format": 0.5, "length": 30.0 + step, "n_problems": 256, "k": 16}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two updates of two groups each, evaluated before and after."""
    metrics, samples = MetricsWriter(tmp_path, resume_step=0), SampleWriter(tmp_path, resume_step=0)
    wrong = (Score(0.0, {"accuracy": 0.0, "format": 0.0}), Score(None, {"accuracy": None}, "error", HOSTILE))
    right = (Score(2.0, {"accuracy": 1.0, "format": 1.0}),) * 2
    for step, scores in ((0, wrong), (2, right)):
        samples.write_eval(step, [scored_group("p0", scores), scored_group("p1", scores)])
        metrics.write_eval(evaluation(step, 0.2 + 0.35 * step))
    for step in (1, 2):
        samples.write(step, [scored_group("q0", wrong), scored_group("q1", right)], {(1, 0): 0.5})
        row = {"reward/total": 0.5 * step, "reward/accuracy": 0.25, "reward/abstained_share": 0.1}
        row |= {
            "logprob_mismatch/mean": 1e-7,
            "logprob_mismatch/max": 2e-6,
            "time/rollout_s": 3.0,
            "time/learn_s": 1.0,
        }
        metrics.write(step, row)
    config = {"steps": 2, "seed": 7, "policy": {"model": "tiny"}, "eval": {"correct": "accuracy"},
              "algorithm": {"questions_per_step": 32, "mini_batches": 2, "group_size": 16}}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "manifest.json").write_text(
        json.dumps({"seed": 7, "git_commit": "abc123", "versions": {"torch": "2"}})
    )
    (tmp_path / "summary.json").write_text(json.dumps({"minutes": 9.5}))
    return tmp_path


def charts_of(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {chart["title"]: {s["name"]: s for s in chart["series"]} for chart in data["charts"]}


def test_curves_are_the_rows(run_dir: Path) -> None:
    charts = charts_of(collect(run_dir))
    assert charts["Reward"]["total"] == {"name": "total", "x": [1, 2], "y": [0.5, 1.0]}
    assert set(charts["Reward"]) == {"total", "accuracy"}
    held_out = charts["Held-out accuracy"]["pass@1"]
    assert held_out["x"] == [0, 2]
    assert held_out["y"] == pytest.approx([0.2, 0.9])
    assert held_out["low"] == pytest.approx([0.15, 0.85])
    assert set(charts["Seconds per phase"]) == {"rollout", "learn"}
    assert "KL to the reference" not in charts


def test_rewards_have_a_line_each_and_their_faults_are_dated(run_dir: Path) -> None:
    assert collect(run_dir)["rewards"] == []  # a run that names no reward
    config = json.loads((run_dir / "config.json").read_text())
    config |= {"rewards": [{"name": "accuracy"}, {"name": "plug.py:long"}], "guards": {"window": 2}}
    config |= {"audit": {"verifier": "math_verify"}}
    (run_dir / "config.json").write_text(json.dumps(config))
    metrics = MetricsWriter(run_dir, resume_step=0)
    for step in (1, 2, 3):
        row = {"reward/total": 1.0, "reward/accuracy": 0.25, "reward_std/accuracy": 0.4, "reward/long": 0.75}
        row |= {
            "reward_std/long": 0.2,
            "length_corr/long": 0.99,
            "reward_share/long": 0.5,
            "audit/agree": 9.0,
        }
        row |= {"audit/only_reward": 3.0, "audit/only_verifier": 0.0, "audit/unjudged": 0.0}
        metrics.write(2 * step - 1, {"loss": 0.0})  # the first update of each phase
        metrics.write(2 * step, row)
    lines = collect(run_dir)["rewards"]
    assert [line["kind"] for line in lines] == ["line"] * 3 + ["fault"] * 2
    assert lines[1]["text"].startswith("long: mean 0.75, std 0.2, 50% of the differences")
    assert "agrees on 75.0% of 36 samples; 9 only the reward accepts" in lines[2]["text"]
    faults = sorted(line["text"] for line in lines[3:])
    assert faults[0].startswith("after updates 4 to 6: reward 'long' follows the length")
    assert faults[1].startswith("after updates 4 to 6: the second verifier contradicts 'accuracy' on 25%")


def test_headline_says_before_and_after(run_dir: Path) -> None:
    tiles = {tile["label"]: tile["value"] for tile in collect(run_dir)["headline"]}
    assert tiles["held-out pass@1"] == "0.200 → 0.900"
    assert tiles["largest log-prob mismatch"] == "2.0e-06"
    assert tiles["minutes"] == "9.5"


def test_compared_problems_pair_by_prompt(run_dir: Path) -> None:
    compared = collect(run_dir)["compared"]
    assert [row["answer"] for row in compared] == ["31", "31"]
    assert [(side["step"], side["right"]) for side in compared[0]["sides"]] == [(0, False), (2, True)]


def test_samples_can_be_browsed_by_step(run_dir: Path) -> None:
    samples = collect(run_dir)["samples"]
    assert [(s["stage"], s["step"], s["of"]) for s in samples] == [
        ("training", 1, 4), ("training", 2, 4), ("held out", 0, 4), ("held out", 2, 4),
    ]  # fmt: skip
    first, second, third, _ = samples[0]["rows"]
    assert samples[0]["components"] == ["accuracy", "format"]
    assert (first["total"], first["components"], first["advantage"]) == (0.0, [0.0, 0.0], None)
    assert (second["verdict"], second["total"]) == ("error", None)
    assert third["advantage"] == 0.5


def test_facts_name_commit_seed_and_phase(run_dir: Path) -> None:
    facts = dict(collect(run_dir)["facts"])
    assert facts["git commit"] == "abc123"
    assert facts["seed"] == "7"
    assert facts["phase"] == "64 questions × 16 samples, 2 updates"


def test_page_is_one_file_that_loads_nothing_and_runs_no_model_text(run_dir: Path) -> None:
    notes = f"First.\n\nSecond {HOSTILE}"
    page = write_report(run_dir, run_dir / "out" / "report.html", notes).read_text("utf-8")
    assert not re.search(
        r"""(?:src|href)\s*=|@import|url\(|fetch\(|https?://(?!www\.w3\.org/2000/svg)""", page
    )
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "innerHTML" not in page
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    data = json.loads(embedded[1])
    assert data["notes"] == ["First.", f"Second {HOSTILE}".strip()]
    assert data["samples"][0]["rows"][1]["reason"] == HOSTILE


def test_unfinished_run_is_shown_as_such(run_dir: Path) -> None:
    for name in ("summary.json", "manifest.json", "eval.jsonl"):
        (run_dir / name).unlink()
    for path in (run_dir / "eval").iterdir():
        path.unlink()
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "rew')
    data = collect(run_dir)
    assert data["status"] == "not finished: 2 of 2 updates so far"
    assert data["compared"] == []
    assert "Held-out accuracy" not in charts_of(data)
    assert write_report(run_dir, run_dir / "report.html").stat().st_size > 10_000


def test_run_that_has_only_begun_makes_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"steps": 10}')
    assert collect(tmp_path)["status"] == "not finished: 0 of 10 updates so far"
    write_report(tmp_path, tmp_path / "report.html")


def test_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BrokenRun, match="holds no run"):
        write_report(tmp_path, tmp_path / "report.html")
    (tmp_path / "config.json").write_text("{cut")
    with pytest.raises(BrokenRun, match=r"config\.json is not JSON"):
        collect(tmp_path)


def test_embedded_json_survives_hostile_text_and_nan() -> None:
    text = embed({"a": HOSTILE, "b": [float("nan"), 1.5]})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": HOSTILE, "b": [None, 1.5]}


def test_long_curves_keep_mean_and_ends() -> None:
    rows = [{"step": i + 1, "v": float(i)} for i in range(1000)]
    short = curve(rows, "v", "v", max_points=10)
    assert len(short["x"]) == 10
    assert short["x"][-1] == 1000
    assert sum(short["y"]) / 10 == pytest.approx(499.5)
    assert curve(rows[:10], "v", "v", max_points=10)["y"] == [float(i) for i in range(10)]
    assert curve([{"step": 1, "v": None}, {"step": 2}], "v", "v")["x"] == []


def test_spread_keeps_first_and_last() -> None:
    assert spread(list(range(100)), 5) == [0, 25, 50, 74, 99]
    assert spread([1, 2], 5) == [1, 2]


def test_page_holds_a_bounded_part_of_many_samples(run_dir: Path) -> None:
    groups = [scored_group(f"x{i}") for i in range(100)]
    SampleWriter(run_dir, resume_step=2).write(3, groups, {})
    shown = next(s for s in collect(run_dir)["samples"] if s["step"] == 3)
    assert (shown["of"], len(shown["rows"])) == (200, MAX_ROWS_PER_STEP)
