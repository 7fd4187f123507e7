"""SFT: the loss and its gradient against one example at a time, isolation, masking, what the stage reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data_recipes.errors import DataError
from data_recipes.sft.examples import Example
from data_recipes.worlds.chain.tokenizer import build_tokenizer, pieces
from grpo.algorithm.schedules import learning_rate
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.config.sft import SftConfig
from grpo.stages.sft import read_job, show_examples
from grpo.tracking.metrics import MetricsWriter
from grpo.tracking.report.page import collect
from grpo.training.sft_objective import SftObjective, pack_examples
from grpo.training.supervised_learner import SupervisedLearner
from policies.export import save_policy
from policies.load import load_policy
from policies.presets import new_policy, tiny_config
from policies.tokenizer import load_tokenizer
from tests.grpo.tiny_phase import VOCAB, make_policy

PRESETS = ["tiny-v3", "tiny-llama-tied", "tiny-qwen2"]


def make_examples(count: int, seed: int = 0) -> list[Example]:
    """Prompt and reply, and every third with two replies; lengths differ much."""
    rng = np.random.default_rng(seed)
    result = []
    for n in range(count):
        prompt, reply = rng.integers(1, 9), rng.integers(1, 15)
        mask = [False] * prompt + [True] * reply
        if n % 3 == 0:
            mask += [False] * 3 + [True] * 2
        ids = rng.integers(0, VOCAB, len(mask)).astype(np.int32)
        result.append(Example(f"{seed}-{n}", ids, np.array(mask)))
    return result


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("policies")
    return {preset: make_policy(root / preset, preset) for preset in PRESETS}


def make(folder: Path, budget: int = 4096, **options: Any) -> SupervisedLearner:
    return SupervisedLearner(
        policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
        optimizer=OptimizerConfig(**{"lr": 1e-3, "grad_clip": 1e9, **options}),
        learner=LearnerConfig(tokens_per_micro_batch=budget, logit_chunk_tokens=16),
        objective=SftObjective,
        model_path=folder,
        total_steps=8,
    )


def gradients(
    learner: SupervisedLearner, batch: list[Example]
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    seen: dict[str, torch.Tensor] = {}

    def spy(lr: float, gradient_scale: float) -> None:
        seen.update({n: p.grad.clone() for n, p in learner.trained.parameters.items() if p.grad is not None})

    learner.trained.optimizer.step = spy  # type: ignore[method-assign]
    return seen, learner.update(batch, 0)


@pytest.mark.parametrize("preset", PRESETS)
def test_loss_and_gradient_are_those_of_one_example_at_a_time(folders: dict[str, Path], preset: str) -> None:
    """float64, plain attention, the definition: mean of −log p over the reply tokens of the whole batch."""
    batch = make_examples(6)
    found, row = gradients(make(folders[preset], budget=45), batch)
    model: Any = load_policy(folders[preset]).double()
    model.set_attn_implementation("eager")
    total, count = torch.zeros((), dtype=torch.float64), 0
    for example in batch:
        ids = torch.tensor(example.token_ids, dtype=torch.int64)
        log_probs = model(input_ids=ids[None], use_cache=False).logits[0].log_softmax(-1)
        for place in np.flatnonzero(example.is_target):
            total = total - log_probs[place - 1, ids[place]]
            count += 1
    (total / count).backward()
    expected = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert row["loss"] == pytest.approx((total / count).item(), rel=1e-5)
    norm = sum(g.square().sum() for g in expected.values()).sqrt().item()
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name].double(), gradient, rtol=0, atol=2e-5 * norm, msg=name)


def test_examples_of_a_pack_do_not_see_each_other(folders: dict[str, Path]) -> None:
    objective = SftObjective(load_policy(folders["tiny-v3"]), LearnerConfig(), 0)
    a, b, c = make_examples(3)
    with torch.no_grad():
        alone = [objective.loss([e])[0].item() for e in (a, b, c)]
        together = objective.loss([a, b, c])[0].item()
    assert together == pytest.approx(sum(alone), rel=1e-5)
    changed = Example("x", (b.token_ids + 7) % VOCAB, b.is_target)
    with torch.no_grad():
        other, neighbour = objective.loss([a, changed, c])[0].item(), objective.loss([changed])[0].item()
    assert other - neighbour == pytest.approx(together - alone[1], abs=2e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 50))
def test_a_pack_predicts_the_reply_tokens_and_no_others(count: int, seed: int) -> None:
    examples = make_examples(count, seed)
    packed = pack_examples(examples)
    places, start = [], 0
    for example in examples:
        places += [start + int(i) for i in np.flatnonzero(example.is_target)]
        start += len(example.token_ids)
    assert packed.predict_index.tolist() == [p - 1 for p in places]
    assert packed.target_ids.tolist() == packed.token_ids[torch.tensor(places)].tolist()
    assert len(packed.target_ids) == sum(SftObjective.weight(None, e) for e in examples)  # type: ignore[arg-type]


def test_what_the_prompt_says_is_read_but_not_learnt(folders: dict[str, Path]) -> None:
    """The gradient of the head is that of the replies' predictions: none for a prompt that is all there is to learn."""
    (example, *_) = make_examples(1)
    ids = example.token_ids.copy()
    ids[0] = (ids[0] + 1) % VOCAB
    other = Example("b", ids, example.is_target)
    _, row = gradients(make(folders["tiny-v3"]), [example])
    _, changed = gradients(make(folders["tiny-v3"]), [other])
    assert row["loss"] != changed["loss"]
    assert example.target_count < len(ids) - 1


def test_it_learns_and_ends_at_the_least_rate(folders: dict[str, Path]) -> None:
    learner = make(folders["tiny-qwen2"], lr=5e-3, schedule="cosine", min_lr_ratio=0.1)
    batch = make_examples(8)
    before = learner.evaluate(batch)["loss"]
    rows = [learner.update(batch, step) for step in range(8)]
    assert learner.evaluate(batch)["loss"] < 0.7 * before
    assert rows[0]["lr"] == pytest.approx(5e-3)
    assert rows[-1]["lr"] == pytest.approx(5e-4)


# ---------------------------------------------------------------- the stage


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build_tokenizer(folder)
    tokenizer = load_tokenizer(folder)
    shape = tiny_config("tiny-v3", len(pieces()), eos_token_id=tokenizer.eos_id, max_position_embeddings=64)
    return save_policy(new_policy(shape, 0), folder / "policy", folder)


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def rows_of(count: int, length: int = 1) -> list[dict[str, str]]:
    return [{"prompt": f" {n % 10} * 4", "completion": f" {n % 7}" * length} for n in range(count)]


def config(base: Path, folder: Path, **keys: Any) -> SftConfig:
    return SftConfig.model_validate({"run_dir": folder / "run", "policy": {"model": str(base)}, **keys})


def test_defaults_are_the_papers() -> None:
    settings = SftConfig.model_validate(
        {"run_dir": "r", "policy": {"model": "m"}, "data": {"source": "a.parquet"}}
    )
    optimizer = settings.optimizer
    assert (settings.batch_size, settings.epochs, settings.max_tokens) == (128, 2, 32768)
    assert learning_rate(0, 100, optimizer) == pytest.approx(5e-5)
    assert learning_rate(99, 100, optimizer) == pytest.approx(5e-6)
    assert optimizer.schedule == "cosine"
    with pytest.raises(ValidationError):
        SftConfig.model_validate({"run_dir": "r", "policy": {"model": "m"}})


def test_sources_are_mixed_with_their_limits_and_repeats(base: Path, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", rows_of(6)), write(tmp_path / "b.jsonl", rows_of(9))
    mix = [{"source": second, "limit": 4, "repeats": 2.5}]
    job, _ = read_job(config(base, tmp_path, data={"source": first}, mix=mix))
    assert job.repeats == [1.0] * 6 + [2.5] * 4
    assert [Path(i.id.split(",")[0]).name for i in job.items] == ["a.jsonl"] * 6 + ["b.jsonl"] * 4
    assert job.counts["rows"] == 10
    assert job.counts["tokens"] == sum(len(i.token_ids) for i in job.items)


def test_a_source_of_which_nothing_would_ever_come_is_refused(base: Path, tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", rows_of(6)), write(tmp_path / "b.jsonl", rows_of(9))
    with pytest.raises(DataError, match=r"b.jsonl: repeats = 0.05 of 9 examples is none an epoch; raise it"):
        read_job(config(base, tmp_path, data={"source": first}, mix=[{"source": second, "repeats": 0.05}]))
    read_job(config(base, tmp_path, data={"source": first}, mix=[{"source": second, "repeats": 0.1}]))


def test_held_out_examples_are_not_trained_on_and_known_by_hash(base: Path, tmp_path: Path) -> None:
    data = {"source": write(tmp_path / "a.jsonl", rows_of(10))}
    job, _ = read_job(config(base, tmp_path, data=data, eval={"holdout": 3}))
    ids = [i.id for i in (*job.items, *job.held_out)]
    assert len(job.held_out) == 3
    assert len(set(ids)) == len(ids) == 10
    write(tmp_path / "a.jsonl", [{"prompt": " 1", "completion": " 2"}, *rows_of(9)])
    assert read_job(config(base, tmp_path, data=data, eval={"holdout": 3}))[0].data_hashes != job.data_hashes


def test_the_policys_context_bounds_the_examples(base: Path, tmp_path: Path) -> None:
    rows = [*rows_of(3), {"prompt": " 1", "completion": " 2" * 70}]
    data = {"source": write(tmp_path / "a.jsonl", rows)}
    job, _ = read_job(config(base, tmp_path, data=data))
    assert (len(job.items), job.counts["too_long"]) == (3, 1)
    with pytest.raises(DataError, match=r"no example left of 4 rows so far \(0 bad, 4 too long\)"):
        read_job(config(base, tmp_path, data=data, max_tokens=2))


def test_bad_rows_are_told(base: Path, tmp_path: Path) -> None:
    rows = [*rows_of(2), {"prompt": " 1"}]
    source = write(tmp_path / "a.jsonl", rows)
    job, bad = read_job(config(base, tmp_path, data={"source": source, "bad_rows": "skip"}))
    assert job.counts["bad_rows"] == 1
    assert "a.jsonl, line 3: no field 'completion'" in bad[0]
    with pytest.raises(DataError, match="line 3"):
        read_job(config(base, tmp_path, data={"source": source}))


def test_the_report_shows_examples_and_the_loss(base: Path, tmp_path: Path) -> None:
    settings = config(base, tmp_path, data={"source": write(tmp_path / "a.jsonl", rows_of(3))})
    job, _ = read_job(settings)
    show_examples(settings.run_dir, job.items, load_tokenizer(base))
    writer = MetricsWriter(settings.run_dir, -1)
    writer.write(0, {"heldout/loss": 3.0})
    writer.write(1, {"loss": 2.0, "heldout/loss": 1.5})
    page = collect(settings.run_dir)
    assert page["charts"][0]["title"] == "Loss"
    assert [s["y"] for s in page["charts"][0]["series"]] == [[2.0], [3.0, 1.5]]
    assert page["headline"][0]["value"] == "3.000 → 1.500"
    shown = page["samples"][0]["rows"][0]
    assert shown["prompt"].endswith(" 0 * 4")
    assert shown["completion"].startswith(" 0")
