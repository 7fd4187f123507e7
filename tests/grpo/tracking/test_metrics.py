from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from grpo.common.errors import BrokenRun
from grpo.tracking.jsonl import read_rows
from grpo.tracking.metrics import MetricsWriter, describe
from grpo.tracking.phase_metrics import phase_metrics
from grpo.tracking.sample_row import COLUMNS
from grpo.tracking.samples import SampleWriter, read_samples
from grpo.tracking.screen import summary_line
from grpo.training.step_sums import StepSums
from rewards.scoring.stats import AUDIT
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup


def scored_group(
    name: str = "p0", scores: tuple[Score, ...] | None = None, answer: object = 31
) -> ScoredGroup:
    scores = scores or (
        Score(1.5, {"accuracy": 1.0, "format": 0.5}),
        Score(None, {"accuracy": None, "format": 1.0}, "timeout", "sympy took 2 s"),
    )
    samples = tuple(
        Sample(
            prompt_id=name,
            index=i,
            token_ids=np.arange(3 + i, dtype=np.int32),
            logprobs=np.full(3 + i, -0.5 - i, np.float32),
            text=f"<answer>{i}</answer>",
            finish_reason="stop",
            seed=7 + i,
            version_first=4,
            version_last=5,
        )
        for i in range(len(scores))
    )
    return ScoredGroup(SampleGroup(Prompt(name, "User: 28 + 3 Assistant:", (1, 2), answer), samples), scores)


def test_rows_come_back_in_order_with_their_step(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, resume_step=0)
    writer.write(1, {"loss": 0.5})
    writer.write(2, {"loss": 0.25, "logprob_mismatch/max": 1e-6})
    assert writer.read() == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.25, "logprob_mismatch/max": 1e-6},
    ]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2


def test_resume_drops_what_will_be_done_again(tmp_path: Path) -> None:
    first = MetricsWriter(tmp_path, resume_step=0)
    for step in range(1, 6):
        first.write(step, {"loss": float(step)})
        first.write_eval({"step": step, "pass1": 0.1 * step})
    second = MetricsWriter(tmp_path, resume_step=3)
    assert [r["step"] for r in second.read()] == [1, 2, 3]
    assert [r["step"] for r in second.read_eval()] == [1, 2, 3]
    second.write(4, {"loss": 40.0})
    assert second.read()[-1] == {"step": 4, "loss": 40.0}


def test_a_row_cut_by_a_crash_is_dropped_and_does_not_glue_to_the_next(tmp_path: Path) -> None:
    MetricsWriter(tmp_path, resume_step=0).write(1, {"loss": 1.0})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    writer = MetricsWriter(tmp_path, resume_step=1)
    writer.write(2, {"loss": 2.0})
    assert [r["loss"] for r in writer.read()] == [1.0, 2.0]


def test_a_broken_row_in_the_middle_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(BrokenRun, match=r"metrics\.jsonl, line 2"):
        MetricsWriter(tmp_path, resume_step=3)


def test_values_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, resume_step=0)
    writer.write(1, {"reward/total": math.nan, "loss": math.inf})

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert math.isnan(writer.read()[0]["reward/total"])


def test_an_evaluation_done_again_replaces_the_first(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, resume_step=0)
    writer.write_eval({"step": 0, "pass1": 0.2})
    writer.write_eval({"step": 0, "pass1": 0.3})
    assert writer.read_eval() == [{"step": 0, "pass1": 0.3}]


def test_tensorboard_reads_the_events_and_forgets_purged_steps(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = MetricsWriter(tmp_path, resume_step=0)
    for step in (1, 2, 3):
        first.write(step, {"loss": float(step)})
    second = MetricsWriter(tmp_path, resume_step=1)
    second.write(2, {"loss": 20.0})
    second.write_eval({"step": 2, "pass1": 0.5, "format": None})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1.0), (2, 20.0)]
    assert [e.value for e in events.Scalars("eval/pass@1")] == [0.5]
    assert "eval/format" not in events.Tags()["scalars"]


def test_writing_metrics_does_not_load_torch() -> None:
    code = (
        "import sys, tempfile, pathlib; from grpo.tracking.metrics import MetricsWriter;"
        "w = MetricsWriter(pathlib.Path(tempfile.mkdtemp()), resume_step=0); w.write(1, {'loss': 1.0});"
        "print(sorted({'torch', 'tensorflow', 'transformers', 'ray', 'vllm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_the_code_writes_is_documented() -> None:
    spread = tuple(Score(x, {"accuracy": x, AUDIT: 1.0}) for x in (0.0, 1.0))
    sums = StepSums(torch.device("cpu"))
    sums._sums += 1.0
    scored = [scored_group(), scored_group(scores=spread)]
    names = {
        *sums.metrics(with_mismatch=True),
        *phase_metrics(scored, {"train/samples": 2.0}, {"accuracy": 1.0}, "accuracy"),
    }
    names |= {"grad_norm", "zero_gradient", "lr", "tokens/learner", "time/update_s", "tokens_per_s"}
    names |= {"router/max_violation", "gate/trace_accuracy_k2", "time/total_s"}
    assert {name for name in names if describe(name) is None} == set()


def test_names_nobody_documented_are_unknown() -> None:
    assert describe("reward/accuracy").unit == "reward"  # type: ignore[union-attr]
    assert describe("policy/clip_frac_low") is not None
    assert describe("reward/") is None
    assert describe("policy/entropi") is None


def test_summary_line_says_what_a_person_watches() -> None:
    metrics = {
        "reward/total": 1.25, "reward/accuracy": 0.4, "reward/odd[bold]": 0.85, "reward/abstained_share": 0.25,
        "length/mean": 41.27, "length/truncated_share": 0.5, "policy/entropy": 0.9, "policy/kl": 0.000123,
        "logprob_mismatch/max": 3e-6, "group/zero_variance_share": 0.125, "time/rollout_s": 3.0, "time/learn_s": 1.0,
    }  # fmt: skip
    console = Console(width=300, color_system=None)
    with console.capture() as capture:
        console.print(summary_line(7, 200, metrics, eta_s=3725.2), highlight=False)
    line = capture.get()
    assert line.count("\n") == 1
    for part in ("7/200", "reward 1.25", "accuracy 0.4", "length 41.3", "entropy 0.9", "kl 1.2e-04", "mismatch 3.0e-06",
                 "zero variance 12%", "4.0 s", "left 1:02:05", "truncated 50%", "no verdict 25%"):  # fmt: skip
        assert part in line


def test_summary_line_survives_missing_figures() -> None:
    assert "reward" in summary_line(1, 2, {}, eta_s=0.0)


def test_samples_keep_everything_a_reader_needs(tmp_path: Path) -> None:
    path = SampleWriter(tmp_path, resume_step=0).write(12, [scored_group()], {(0, 0): -0.75})
    assert path == tmp_path / "samples" / "step-000012.parquet"
    table = pq.read_table(path)
    assert table.column_names == [*COLUMNS, "accuracy", "format"]
    judged, unjudged = table.to_pylist()
    assert judged == {
        "id": "rl-12/0/0", "stage": "rl", "step": 12, "prompt_id": "p0", "index": 0,
        "prompt": "User: 28 + 3 Assistant:", "question": None, "prefill": "", "completion": "<answer>0</answer>",
        "prompt_ids": [1, 2], "completion_ids": [0, 1, 2], "answer": "31", "kind": None, "language": None,
        "source": "", "total": 1.5, "verdict": "ok", "reason": "", "advantage": -0.75, "discarded": False,
        "finish_reason": "stop", "tokens": 3, "version_first": 4, "version_last": 5, "seed": 7, "mean_logprob": -0.5,
        "model": None, "messages": None, "tools": None, "accuracy": 1.0, "format": 0.5,
    }  # fmt: skip
    assert unjudged["total"] is None
    assert unjudged["accuracy"] is None
    assert unjudged["advantage"] is None
    assert (unjudged["verdict"], unjudged["reason"]) == ("timeout", "sympy took 2 s")


def test_equal_samples_give_equal_files(tmp_path: Path) -> None:
    one = SampleWriter(tmp_path / "a", resume_step=0).write(1, [scored_group()], {})
    two = SampleWriter(tmp_path / "b", resume_step=0).write(1, [scored_group()], {})
    assert one.read_bytes() == two.read_bytes()


def test_a_component_named_like_a_column_does_not_overwrite_it(tmp_path: Path) -> None:
    group = scored_group(scores=(Score(2.0, {"tokens": 9.0}),), answer=[1, 2])
    path = SampleWriter(tmp_path, resume_step=0).write_eval(0, [group])
    (row,) = pq.read_table(path).to_pylist()
    assert (row["tokens"], row["reward/tokens"], row["answer"], row["stage"]) == (3, 9.0, "[1, 2]", "eval")
    (read,) = read_samples(path)
    assert read.components == {"tokens": 9.0}


def test_resume_deletes_samples_of_steps_to_come(tmp_path: Path) -> None:
    writer = SampleWriter(tmp_path, resume_step=0)
    for step in (2, 4):
        writer.write(step, [scored_group()], {})
        writer.write_eval(step, [scored_group()])
    SampleWriter(tmp_path, resume_step=2)
    assert [p.name for p in sorted(tmp_path.rglob("*.parquet"))] == ["step-000002.parquet"] * 2


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = SampleWriter(tmp_path, resume_step=0).write(1, [scored_group()], {})
    before = path.read_bytes()

    def full(table: object, file: Path, **_: object) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        SampleWriter(tmp_path, resume_step=1).write(1, [scored_group()], {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_missing_files_are_no_rows(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "metrics.jsonl") == []
