"""Following the files of a run: every row once, in order, whoever is faster."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpo.tracking.metrics import MetricsWriter, eval_tags
from grpo.tracking.trackers import follow
from grpo.tracking.trackers.follow import Follower

OPERATIONS = st.lists(st.sampled_from(["row", "eval", "read", "race"]), max_size=30)


@given(OPERATIONS, st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_every_row_comes_once_and_evaluations_never_after_a_later_step(
    operations: list[str], known: int
) -> None:
    """`race`: the run goes on between the reading of the two files."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        run_dir = Path(folder)
        writer = MetricsWriter(run_dir, -1, tensorboard=False)
        for step in range(1, known + 1):
            writer.write(step, {"loss": float(step)})
        follower = Follower(run_dir, metrics_step=known)
        written: dict[int, dict[str, float]] = {}
        step = known

        def advance() -> None:
            nonlocal step
            step += 1
            writer.write(step, {"loss": float(step)})
            written.setdefault(step, {})["loss"] = float(step)

        def evaluate() -> None:
            if step > known or step == 0:
                writer.write_eval({"step": step, "pass1": 0.5})
                written.setdefault(step, {})["eval/pass@1"] = 0.5

        def while_reading(path: Path) -> list[dict[str, float]]:
            advance()
            advance()
            evaluate()
            return real_rows(path)

        real_rows = follow.read_rows
        found: list[tuple[int, dict[str, float]]] = []
        for operation in operations:
            if operation == "row":
                advance()
            elif operation == "eval":
                evaluate()
            elif operation == "read":
                found += follower.read()
            else:
                patch.setattr(follow, "read_rows", while_reading)
                found += follower.read()
                patch.setattr(follow, "read_rows", real_rows)
        found += follower.read(everything=True)
        assert [s for s, _ in found] == sorted(s for s, _ in found)
        joined: dict[int, dict[str, float]] = {}
        for at, values in found:
            assert not joined.setdefault(at, {}).keys() & values.keys()
            joined[at] |= values
        assert joined == written


def test_a_row_that_is_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    follower = Follower(tmp_path)
    assert follower.read() == [(1, {"loss": 1.0})]
    with path.open("a") as file:
        file.write('ss": null, "lr": 2.0}\n')
    assert follower.read() == [(2, {"lr": 2.0})]
    assert follower.read(everything=True) == []


def test_a_run_that_has_written_nothing_has_no_rows(tmp_path: Path) -> None:
    assert Follower(tmp_path).read(everything=True) == []


def test_an_evaluation_has_its_components_by_name() -> None:
    row = {"pass1": 0.5, "format": None, "components": {"judge": 2.0, "late": None}}
    assert eval_tags(row) == {"eval/pass@1": 0.5, "eval/reward/judge": 2.0}


def test_an_evaluation_has_pass_at_k_for_powers_of_two_and_all() -> None:
    row = {"pass1": 0.5, "pass_at": {str(k): k / 10 for k in range(1, 7)}}
    assert eval_tags(row) == {
        "eval/pass@1": 0.5, "eval/pass@2": 0.2, "eval/pass@4": 0.4, "eval/pass@6": 0.6
    }  # fmt: skip
