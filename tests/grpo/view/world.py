"""Run folders for the tests of `grpo view`, written by the product's own writers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from grpo.tracking.jsonl import append_rows
from grpo.tracking.sample_row import SampleRow
from grpo.tracking.samples import file_name, write_samples
from grpo.view.app import make_app
from grpo.view.serve import HOST, listen
from grpo.view.watch import Watch

CONFIG: dict[str, Any] = {
    "stage": "rl",
    "steps": 8,
    "policy": {"model": "runs/base/policy"},
    "rewards": [{"name": "accuracy"}, {"name": "format", "weight": 0.5}],
    "reward_workers": 2,
    "algorithm": {"group_size": 2},
    "sampling": {
        "temperature": 1.0,
        "temperature_schedule": [{"from_step": 3, "value": 0.7}],
        "max_tokens": 64,
        "max_tokens_schedule": [],
        "stop_tokens": ["</answer>"],
    },
    "engine": {"workers": 1},
    "learner": {"ranks": 1},
    "eval": {"samples": 4, "temperature": 0.6, "top_p": 0.95, "max_tokens": None, "correct": "accuracy"},
}


def sample(step: int, number: int, index: int, **changes: Any) -> SampleRow:
    """A training sample of a phase that one update ended; half of them are right."""
    right = float((step + number + index) % 2)
    values: dict[str, Any] = {
        "id": f"rl-{step}/{number}/{index}",
        "stage": "rl",
        "step": step,
        "prompt_id": f"p{number}",
        "index": index,
        "prompt": f"User: question {number} Assistant: <think>",
        "question": f"question {number}",
        "completion": f"<think>step {step}</think><answer>{index}</answer>",
        "answer": "1",
        "source": "hand",
        "total": right + 0.5,
        "verdict": "ok",
        "reason": "accuracy: no answer found; format: fine; or so",
        "advantage": right - 0.5,
        "discarded": False,
        "finish_reason": "stop",
        "tokens": 10 + step + index,
        "version_first": step - 1,
        "version_last": step - 1,
        "seed": 7,
        "mean_logprob": -0.25,
        "components": {"accuracy": right, "format": 1.0},
        "kept": {"level": "hard"},
    }
    return SampleRow(**{**values, **changes})


def phase(run_dir: Path, step: int, rows: Sequence[SampleRow] | None = None) -> None:
    """Write what one update of a run leaves: a row of metrics, a file of samples."""
    append_rows(run_dir / "metrics.jsonl", [metrics(step)])
    if rows is None:
        rows = [sample(step, number, index) for number in range(3) for index in range(2)]
    write_samples(run_dir / "samples" / file_name(step), rows)


def metrics(step: int) -> dict[str, float]:
    return {
        "step": step,
        "reward/total": 0.5 + step / 10,
        "reward/accuracy": step / 10,
        "length/mean": 12.0 + step,
        "policy/kl": 0.001 * step,
        "policy/entropy": 1.0 - step / 20,
        "logprob_mismatch/max": 1e-6 * step,
    }


def make_run(run_dir: Path, steps: int = 4, **config: Any) -> Path:
    """A run of `steps` updates that nothing holds; give it a summary.json to finish it."""
    run_dir.mkdir(parents=True)
    (run_dir / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (run_dir / "manifest.json").write_text(json.dumps({"seed": 1}))
    for step in range(1, steps + 1):
        phase(run_dir, step)
    return run_dir


@contextmanager
def serving(*roots: Path) -> Iterator[str]:
    """The server over these folders, on a free port; yields its address."""
    listening = listen(None)
    settings = uvicorn.Config(
        make_app(Watch(roots)),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://{HOST}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()
