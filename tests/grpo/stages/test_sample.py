"""`grpo sample` without engines: parts, rows, and the order of work. With: tests/integration/test_sample_run.py."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from rich.text import Text

from grpo.common.config_io import load_config
from grpo.common.errors import BrokenRun, ConfigError
from grpo.config.sample import SampleConfig
from grpo.stages.sample import Inputs, Progress, sample, show, summarize
from grpo.tracking.run_dir import model_hash
from grpo.tracking.sample_parts import SampleParts
from grpo.tracking.sample_row import COLUMNS
from grpo.tracking.samples import read_samples
from rewards.types import Score, ScoredGroup
from rollout.chunks import make_chunks
from rollout.types import Prompt, RolloutChunk, Sample, SampleGroup, SamplingParams

PROMPTS = [
    Prompt(f"p{i}", f"text {i}", (1, i), [i], {"question": f"q{i}", "kind": "math", "level": i}, "src", "<t>")
    for i in range(5)
]


def config(run_dir: Path, **changes: Any) -> SampleConfig:
    raw = {
        "run_dir": str(run_dir),
        "policy": {"model": "m"},
        "data": {"source": "chain"},
        "rewards": ({"name": "format"},),
        "samples": 2,
        "keep_columns": ("level",),
    }
    return SampleConfig.model_validate(raw | changes)


class Fake:
    """Rollout and reward workers: groups of a chunk come in any order, rewards only when they are collected."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.rollouts = self.rewards = self
        self.stop_after = stop_after
        self.sampled: list[str] = []
        self.collected = 0

    def wait_started(self) -> None:
        pass

    def run(self, chunks: Sequence[RolloutChunk]) -> Iterator[tuple[str, SampleGroup]]:
        order = [
            (c, p) for c in chunks for p in random.Random(c.id).sample(range(len(c.prompts)), len(c.prompts))
        ]
        for number, (chunk, place) in enumerate(order):
            if number == self.stop_after:
                raise KeyboardInterrupt
            self.sampled.append(chunk.id)
            prompt, seeds = chunk.prompts[place], chunk.seeds[place]
            samples = tuple(
                Sample(prompt.id, g, np.array([seed % 7, g], np.int32), np.zeros(2, np.float32), f"r{seed}", "stop",
                       seed, 0, 0)
                for g, seed in enumerate(seeds)
            )  # fmt: skip
            yield chunk.id, SampleGroup(prompt, samples)

    def submit(self, groups: Sequence[SampleGroup], stage: str, step: int) -> Any:
        assert (stage, step) == ("sample", 0)
        return groups

    def collect(self, tickets: Sequence[Any]) -> list[ScoredGroup]:
        self.collected += 1
        return [
            ScoredGroup(g, tuple(Score(s.seed / 2, {"format": 1.0 * (s.index == 0)}) for s in g.samples))
            for groups in tickets
            for g in groups
        ]


def run(folder: Path, fake: Fake, settings: SampleConfig | None = None) -> SampleParts:
    settings = settings or config(folder)
    labels = ["format"] if settings.rewards else []
    parts = SampleParts(folder, labels, settings.keep_columns)
    chunks = make_chunks(PROMPTS, "sample", 3, 0, SamplingParams(4), 2, 2)
    missing = [n for n in range(len(chunks)) if not parts.is_written(n)]
    inputs = Inputs(chunks, "float32", context=64, model="hash", manifest={})
    sample(settings, inputs, missing, fake, parts, Progress(labels, 10))  # type: ignore[arg-type]
    parts.merge(len(chunks))
    return parts


def test_every_sample_once_in_prompt_order_with_what_it_is(tmp_path: Path) -> None:
    parts = run(tmp_path, Fake())
    table = parquet.read_table(parts.path)
    assert table.column_names == [*COLUMNS, "format", "level"]
    rows = table.to_pylist()
    assert [r["id"] for r in rows] == [f"p{i}/{g}" for i in range(5) for g in range(2)]
    seed = rows[3]["seed"]
    assert rows[3] == {
        "id": "p1/1", "stage": "sample", "step": 0, "prompt_id": "p1", "index": 1, "prompt": "text 1",
        "question": "q1", "messages": None, "tools": None, "prefill": "<t>",
        "completion": f"<t>r{seed}", "prompt_ids": [1, 1],
        "completion_ids": [seed % 7, 1], "answer": "[1]", "kind": "math", "language": None, "source": "src",
        "total": seed / 2, "verdict": "ok", "reason": "", "advantage": None, "discarded": None,
        "finish_reason": "stop", "tokens": 2, "version_first": 0, "version_last": 0, "seed": seed,
        "mean_logprob": 0.0, "model": "hash", "format": 0.0, "level": "1",
    }  # fmt: skip
    summary = summarize(parts, config(tmp_path), ["format"])
    assert (summary["prompts"], summary["samples"], summary["tokens"], summary["components"]) == (
        5,
        10,
        20,
        {"format": 0.5},
    )


class Abstains(Fake):
    """A reward without a verdict on the second sample of each prompt."""

    def collect(self, tickets: Sequence[Any]) -> list[ScoredGroup]:
        unread = Score(
            None, {"format": None}, "abstain", "judge: 1 of 1 verdicts cannot be read: no [object]"
        )
        return [
            ScoredGroup(g, tuple(unread if s.index else Score(1.0, {"format": 1.0}) for s in g.samples))
            for groups in tickets
            for g in groups
        ]


def test_samples_without_a_score_are_counted_and_the_first_reason_is_shown(tmp_path: Path) -> None:
    parts = run(tmp_path, Abstains())
    shown = Text.from_markup(show(summarize(parts, config(tmp_path), ["format"]), ["format"])).plain
    assert "5 samples have no score; the first: judge: 1 of 1 verdicts cannot be read: no [object]" in shown
    (tmp_path / "none").mkdir()
    free = config(tmp_path / "none", rewards=())
    assert "no score" not in show(summarize(run(tmp_path / "none", Fake(), free), free, []), [])


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 4])
def test_an_interrupted_run_ends_with_the_same_bytes_and_samples_only_what_is_missing(
    stop_after: int, tmp_path: Path
) -> None:
    whole = run(tmp_path / "whole", Fake()).path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Fake(stop_after))
    (tmp_path / "cut" / "parts" / ".000002.parquet.1.tmp").write_bytes(b"half of it")
    rest = Fake()
    assert run(tmp_path / "cut", rest).path.read_bytes() == whole
    # A chunk is written when a group of the next one has come.
    assert len(set(rest.sampled)) == 3 - max(0, stop_after - 1) // 2
    assert not list((tmp_path / "cut").rglob("*.tmp"))


def test_without_rewards_nothing_is_scored(tmp_path: Path) -> None:
    fake = Fake()
    parts = run(tmp_path, fake, config(tmp_path, rewards=()))
    assert fake.collected == 0
    rows = list(read_samples(parts.path))
    assert {(row.total, row.verdict, tuple(row.components)) for row in rows} == {(None, "abstain", ())}


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    parts = SampleParts(tmp_path, [], [])
    (tmp_path / "parts" / "000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(BrokenRun, match=r"000000\.parquet.*delete it"):
        parts.merge(1)
    assert not parts.path.exists()


def test_columns_must_have_different_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'kind'"):
        SampleParts(tmp_path, ["accuracy"], ["kind"])


def test_the_hash_of_a_policy_is_of_its_files() -> None:
    one, other = ({"model": {"files": {"a": digest}}} for digest in "12")
    assert model_hash(one) != model_hash(other)
    assert model_hash(one) == model_hash(one | {"started": "later"})
    assert model_hash({"model": None}) is None


def test_a_reward_with_a_start_step_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "s.toml"
    recipe.write_text(
        'run_dir = "r"\n[policy]\nmodel = "m"\n[data]\nsource = "chain"\n'
        '[[rewards]]\nname = "format"\nstart_step = 5\n'
    )
    with pytest.raises(ConfigError, match="format: start_step = 5, but there are no steps here"):
        load_config(SampleConfig, str(recipe))
    with pytest.raises(ConfigError, match=r"policy\.lora .* read in training only"):
        load_config(SampleConfig, str(recipe), ["rewards.0.start_step=0", "policy.lora.rank=4"])
