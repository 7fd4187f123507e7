"""An interrupted loop: the last whole phase is checkpointed, and going on from there is the run in one piece."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

import pytest

from grpo.common import stopping
from grpo.rl.loop import LoopState
from tests.grpo.rl import scripted
from tests.grpo.rl.scripted import HEALTHY, Run, run_loop
from tests.signals import listening  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("listening")
START = LoopState()

SETTINGS: dict[str, Any] = {
    "steps": 6,
    "algorithm": {"mini_batches": 2},
    "eval": {"data": {"source": "chain", "split": "held-out"}, "every_steps": 2, "samples": 2},
}


class Learners(scripted.Learners):
    """Send a signal to this process at an update, or while a checkpoint is asked for."""

    def update(self, mini_batch: Any, step: int, max_tokens: int) -> Any:
        if step == Learners.at:
            signal.raise_signal(signal.SIGTERM)
        return super().update(mini_batch, step, max_tokens)

    at = -1


class Rollouts(scripted.Rollouts):
    """Send a signal to this process when a chunk of this name is asked for."""

    def generate(self, chunks: Any) -> Any:
        if Rollouts.at and chunks[0].id.startswith(Rollouts.at):
            signal.raise_signal(signal.SIGTERM)
        return super().generate(chunks)

    at = ""


def start(monkeypatch: pytest.MonkeyPatch, update: int = -1, chunk: str = "", at: LoopState = START) -> Run:
    """Run the loop; the learners and the run that it leaves are kept when it is interrupted."""
    kept: list[Run] = []

    class KeptRun(Run):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(self)

    monkeypatch.setattr(scripted, "Run", KeptRun)
    monkeypatch.setattr(scripted, "Learners", Learners)
    monkeypatch.setattr(scripted, "Rollouts", Rollouts)
    monkeypatch.setattr(Learners, "at", update)
    monkeypatch.setattr(Rollouts, "at", chunk)
    if update < 0 and not chunk:
        return run_loop(SETTINGS, held_out=2, start=at, report=lambda step: dict(HEALTHY))
    with pytest.raises(KeyboardInterrupt):
        run_loop(SETTINGS, held_out=2, start=at, report=lambda step: dict(HEALTHY))
    return kept[0]


def seeds(run: Run) -> list[Any]:
    return [(c.id, c.policy_version, c.seeds) for c in run.rollouts.chunks]


@pytest.mark.parametrize(
    ("where", "saved", "evals"),
    [
        ({"update": 2}, LoopState(4, 12, 144, owes_eval=True), [0, 2]),
        ({"update": 3}, LoopState(4, 12, 144, owes_eval=True), [0, 2]),
        ({"chunk": "train/4"}, LoopState(4, 12, 144), [0, 2, 4]),
        ({"chunk": "eval/4"}, LoopState(4, 12, 144, owes_eval=True), [0, 2]),
        ({"chunk": "eval/6"}, LoopState(6, 18, 216, owes_eval=True), [0, 2, 4]),
    ],
    ids=str,
)
def test_the_last_whole_phase_is_saved_and_the_rest_is_the_same(
    where: dict[str, Any], saved: LoopState, evals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = start(monkeypatch, **where)
    assert cut.learners.checkpoints == [saved]
    assert [result.step for result in cut.evals] == evals
    assert [phase.end.step for phase in cut.phases] == list(range(2, saved.step + 1, 2))
    assert stopping.exit_code() == 75
    assert f"checkpoint of step {saved.step}" in stopping.last_line()

    rest = start(monkeypatch, at=LoopState(saved.step, **saved.extra()))
    whole = start(monkeypatch)
    assert [result.step for result in rest.evals] == [s for s in (0, 2, 4, 6) if s not in evals]
    assert [p.end.step for p in (*cut.phases, *rest.phases)] == [p.end.step for p in whole.phases]
    assert set(seeds(cut)) | set(seeds(rest)) == set(seeds(whole))
    assert [p.metrics["reward/total"] for p in (*cut.phases, *rest.phases)] == [
        p.metrics["reward/total"] for p in whole.phases
    ]
    assert dataclasses.replace(rest.end or LoopState(), owes_eval=False) == whole.end


def test_before_the_first_phase_there_is_nothing_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = start(monkeypatch, chunk="train/0")
    assert cut.learners.checkpoints == []
    assert "checkpoint of step 0" not in stopping.last_line()
