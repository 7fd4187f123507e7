"""Reward models: losses and pooling against oracles, and a whole training of a tiny one."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from data_recipes.errors import DataError
from data_recipes.worlds.chain.tokenizer import build_tokenizer
from grpo.config.reward_model import RewardModelConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.stages.reward_model import auc
from grpo.training.reward_model_data import read_judgements
from grpo.training.reward_model_losses import pairwise, pointwise
from grpo.training.reward_model_objective import PairwiseObjective, PointwiseObjective
from grpo.training.supervised_learner import ObjectiveFactory, SupervisedLearner
from policies.export import save_policy
from policies.load import load_policy
from policies.presets import new_policy, tiny_config
from policies.tokenizer import load_tokenizer
from policies.value_head import scalar_head, sequence_values
from rewards.errors import RewardLoadError
from rewards.hosts.pool import check_reward
from rewards.model.reward import RewardModel
from rewards.model.text import CARD, document, judged_text
from rewards.types import RewardBatch

VALUES = st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=1, max_size=8)


@given(VALUES)
def test_pairwise_is_minus_log_of_bradley_terry(pairs: list[tuple[float, float]]) -> None:
    chosen, rejected = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    expected = sum(math.log1p(math.exp(-(c - r))) for c, r in pairs)
    assert pairwise(chosen, rejected).item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(st.lists(st.tuples(st.floats(-30, 30), st.sampled_from([0.0, 1.0])), min_size=1, max_size=8))
def test_pointwise_is_binary_cross_entropy(rows: list[tuple[float, float]]) -> None:
    logits, labels = torch.tensor(rows, dtype=torch.float64).unbind(1)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    assert pointwise(logits, labels).item() == pytest.approx(expected.item(), rel=1e-12, abs=1e-12)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=20))
def test_auc_is_the_share_of_pairs_ranked_right(rows: list[tuple[int, bool]]) -> None:
    found = auc([v for v, _ in rows], [float(y) for _, y in rows])
    good, bad = ([v for v, y in rows if y is label] for label in (True, False))
    if not good or not bad:
        assert found is None
    else:
        ranks = np.array([[1.0 if g > b else 0.5 if g == b else 0.0 for b in bad] for g in good])
        assert found == pytest.approx(ranks.mean())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    size, eos = make_tokenizer(folder)
    model = new_policy(tiny_config("tiny-qwen2", vocab_size=size, eos_token_id=eos), seed=3, weight_std=0.1)
    return save_policy(model, folder / "policy", tokenizer_from=folder)


def make_tokenizer(folder: Path) -> tuple[int, int]:
    build_tokenizer(folder)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.eos_id is not None
    return len(tokenizer), tokenizer.eos_id


def test_values_are_those_of_each_sequence_alone(base: Path) -> None:
    """Oracle: transformers' own forward of one unpacked sequence, hidden state of its last token."""
    from transformers import AutoModelForCausalLM

    rng = random.Random(0)
    documents = [[rng.randrange(3, 30) for _ in range(n)] for n in (7, 1, 19, 3)]
    head = scalar_head(64, seed=1)
    values = sequence_values(load_policy(base), head, documents)
    oracle = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    for value, ids in zip(values, documents, strict=True):
        states = oracle(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
        expected = states[0, -1] @ head.weight[0] + head.bias[0]
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)


def test_the_head_depends_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    first = scalar_head(8, seed=4)
    torch.manual_seed(2)
    assert torch.equal(first.weight, scalar_head(8, seed=4).weight)
    assert not torch.equal(first.weight, scalar_head(8, seed=5).weight)


@pytest.mark.parametrize(
    ("completion", "summary"),
    [
        ("<think>a</think> b ", "b"),
        ("<think>a</think>b</think>c", "c"),
        ("<think>never closed", ""),
        ("no reasoning", "no reasoning"),
    ],
)
def test_what_is_judged(completion: str, summary: str) -> None:
    assert judged_text(completion, "summary") == summary
    assert judged_text(completion, "response") == completion


def test_a_thought_that_the_prompt_opened_and_nobody_closed_is_no_answer() -> None:
    assert judged_text("seven, no, eight", "summary", "User: 7? Assistant: <think>\n") == ""
    assert judged_text("seven</think> 7", "summary", "User: 7? Assistant: <think>\n") == "7"
    assert judged_text("7", "summary", "User: 7? Assistant:") == "7"
    assert judged_text("seven, no, eight", "response", "<think>") == "seven, no, eight"


def test_a_prefill_is_not_read_twice(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    plain = document(tokenizer, "7 * 4", "28")
    assert document(tokenizer, "7 * 4<think>", "28") == plain
    assert plain[-1] == tokenizer.eos_id


def planted(seed: int, count: int) -> list[dict[str, object]]:
    """Pairs whose chosen summary has more 7s; the reasoning holds 7s that must not count."""
    rng = random.Random(seed)
    rows: list[dict[str, object]] = []
    while len(rows) < count:
        a, b = ("".join(rng.choices("1 7", k=6)) for _ in range(2))
        if a.count("7") == b.count("7") or not a.strip() or not b.strip():
            continue
        noise = ["".join(rng.choices("17", k=4)) for _ in range(2)]
        chosen, rejected = sorted((a, b), key=lambda t: -t.count("7"))
        rows.append(
            {
                "prompt": str(rng.randrange(1000)),
                "chosen": f"<think>{noise[0]}</think>{chosen}",
                "rejected": f"<think>{noise[1]}</think>{rejected}",
            }
        )
    return rows


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(base: Path, source: Path, **changes: object) -> RewardModelConfig:
    return RewardModelConfig.model_validate(
        {
            "objective": "pairwise",
            "run_dir": source.parent / "run",
            "policy": {"model": str(base)},
            "data": {"source": str(source)},
            **changes,
        }
    )


def train(base: Path, settings: RewardModelConfig, steps: int, out: Path) -> tuple[float, float]:
    """Trains without Ray; held-out accuracy before and after, and the folder as the stage leaves it."""
    items, _, _ = read_judgements(settings, load_tokenizer(base))
    held, kept = items[:100], items[100:]
    factory: ObjectiveFactory = PairwiseObjective if settings.objective == "pairwise" else PointwiseObjective
    learner = SupervisedLearner(
        policy=PolicyConfig(model=str(base), compute_dtype="float32"),
        optimizer=OptimizerConfig(lr=3e-3),
        learner=LearnerConfig(),
        objective=factory,
        model_path=base,
        total_steps=steps,
    )
    before = learner.evaluate(held)["accuracy"]
    for step in range(steps):
        at = step * 32 % len(kept)
        learner.update(kept[at : at + 32], step)
    after = learner.evaluate(held)["accuracy"]
    learner.export(out)
    card = {"objective": settings.objective, "reads": settings.reads, "base": ""}
    (out / CARD).write_text(json.dumps(card))
    return before, after


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[float, Path]:
    folder = tmp_path_factory.mktemp("pairs")
    settings = config(base, write_rows(folder / "pairs.jsonl", planted(0, 1060)))
    _, after = train(base, settings, 60, folder / "policy")
    return after, folder / "policy"


def test_a_planted_preference_is_learnt(trained: tuple[float, Path]) -> None:
    assert trained[0] > 0.9


def batch(prompts: list[str], completions: list[str]) -> RewardBatch:
    count = len(prompts)
    return RewardBatch(
        prompts, completions, [np.empty(0, np.int32)] * count, [None] * count, {}, [0] * count, "rl", 0, 10
    )


def test_the_reward_ranks_and_is_blind_to_reasoning(trained: tuple[float, Path]) -> None:
    reward = RewardModel(str(trained[1]))
    good, bad, other = reward(
        batch(
            ["12", "12", "12"],
            ["<think>1</think>777 77", "<think>1</think>111 11", "<think>7777</think>777 77"],
        )
    )
    assert good.total is not None
    assert bad.total is not None
    assert good.total > bad.total
    assert good.total == pytest.approx(other.total, abs=1e-5)
    assert reward(batch(["12"], ["<think>1</think>777 77"]))[0].total == pytest.approx(good.total, abs=1e-5)


def test_a_reply_over_the_context_is_an_error_of_its_own(trained: tuple[float, Path]) -> None:
    short, long = RewardModel(str(trained[1]))(batch(["1", "1"], ["7", "7" * 2000]))
    assert short.verdict == "ok"
    assert long.verdict == "error"
    assert "1024" in long.reason


def test_the_reward_runs_in_a_process(trained: tuple[float, Path]) -> None:
    check_reward("reward_model", {"model": str(trained[1])})


def test_a_folder_without_a_reward_model_names_the_fix(base: Path) -> None:
    with pytest.raises(RewardLoadError, match=r"holds no reward_model.json; give the folder"):
        check_reward("reward_model", {"model": str(base)})


def test_labels_are_learnt_from_the_whole_response(base: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    rows: list[dict[str, object]] = []
    for n in range(700):
        text = "".join(rng.choices("123", k=5)) + ("7" if n % 2 else "8")
        rows.append({"prompt": "5", "completion": f"<think>{text}</think>1", "label": n % 2})
    settings = config(base, write_rows(tmp_path / "rows.jsonl", rows), objective="pointwise")
    assert settings.reads == "response"
    _, after = train(base, settings, 30, tmp_path / "policy")
    assert after > 0.9
    unsafe, safe = RewardModel(str(tmp_path / "policy"))(
        batch(["5", "5"], ["<think>128</think>1", "<think>127</think>1"])
    )
    assert unsafe.total is not None
    assert safe.total is not None
    assert 0 <= unsafe.total < 0.5 < safe.total <= 1


def test_a_bad_row_is_named(base: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [*planted(0, 2), {"prompt": "1", "chosen": "2"}]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(DataError, match=r"line 3: rejected = None"):
        read_judgements(config(base, source), load_tokenizer(base))
    empty = write_rows(tmp_path / "empty.jsonl", [{"prompt": " ", "chosen": "2", "rejected": "1"}])
    with pytest.raises(DataError, match=r"line 1: prompt is empty"):
        read_judgements(config(base, empty), load_tokenizer(base))
    settings = config(base, source, data={"source": str(source), "bad_rows": "skip"})
    items, counts, _ = read_judgements(settings, load_tokenizer(base))
    assert (len(items), counts["read"], counts["bad_rows"]) == (2, 3, 1)


def test_what_is_left_out_is_counted(base: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "1", "chosen": "<think>1</think>7", "rejected": "<think>2</think>7"},
        {"prompt": "1", "chosen": "7 " * 50, "rejected": "7"},
        {"prompt": "1", "chosen": "7", "rejected": "8"},
    ]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    settings = config(base, source, data={"source": str(source), "max_tokens": 20})
    items, counts, _ = read_judgements(settings, load_tokenizer(base))
    assert len(items) == 1
    assert counts == {"read": 3, "too_long": 1, "identical": 1}


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    settings = config(tmp_path, tmp_path / "x.jsonl")
    assert (settings.batch_size, settings.optimizer.lr, settings.epochs) == (256, 6e-6, 1)
    assert settings.data.max_tokens == 8192
    assert settings.reads == "summary"
    with pytest.raises(ValidationError):
        config(tmp_path, tmp_path / "x.jsonl", data={"source": "x.jsonl", "split": "train"})
