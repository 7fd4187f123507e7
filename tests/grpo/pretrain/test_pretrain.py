import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from grpo.common.config_io import load_config
from grpo.common.errors import BrokenRun, ConfigError, RunError
from grpo.config.pretrain import PretrainConfig
from grpo.pretrain import trainer as pretrain
from grpo.pretrain.state import PretrainState
from grpo.pretrain.trainer import last_step, rate_share, run
from tests.signals import listening  # noqa: F401 - a fixture


def config(run_dir: Path, **changes: object) -> PretrainConfig:
    small = {
        "documents_per_step": 4,
        "max_steps": 8,
        "decay_steps": 2,
        "warmup_steps": 2,
        "gate_every_steps": 3,
        "gate_problems": 4,
        "gate_pass": 1e-30,
        "checkpoint_every_steps": 2,
        "threads": 1,
        "seed": 5,
    }
    return PretrainConfig.model_validate({"run_dir": run_dir, **small, **changes})


def rows(run_dir: Path) -> list[dict[str, float]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


class Killed(BaseException):
    pass


TIED = {"preset": "tiny-qwen3", "corpus": "r1-world", "gate_pass": 0.0}


@pytest.mark.parametrize("policy", [{}, TIED], ids=["v3", "tied"])
def test_a_killed_run_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: dict[str, Any]
) -> None:
    whole = run(config(tmp_path / "whole", **policy))

    real = pretrain.update

    def update(trainer, state):
        if state.step == 5:  # the last checkpoint is that of step 4
            raise Killed
        return real(trainer, state)

    monkeypatch.setattr(pretrain, "update", update)
    with pytest.raises(Killed):
        run(config(tmp_path / "cut", **policy))
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "loss/nl')
    monkeypatch.setattr(pretrain, "update", real)
    resumed = run(config(tmp_path / "cut", **policy))

    weights = [(tmp_path / name / "policy" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    assert [row["step"] for row in rows(tmp_path / "cut")] == list(range(1, 9))
    timeless = [
        {k: v for k, v in s.items() if k not in ("minutes", "tokens_per_s")} for s in (whole, resumed)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.usefixtures("listening")
def test_a_signal_leaves_a_checkpoint_and_the_run_goes_on_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(config(tmp_path / "whole", max_steps=11))
    real = pretrain.update

    def update(trainer, state):
        if state.step == 4:
            signal.raise_signal(signal.SIGTERM)
        return real(trainer, state)

    monkeypatch.setattr(pretrain, "update", update)
    with pytest.raises(KeyboardInterrupt):
        run(config(tmp_path / "cut", checkpoint_every_steps=100))
    assert [row["step"] for row in rows(tmp_path / "cut")] == [1, 2, 3, 4, 5]
    monkeypatch.setattr(pretrain, "update", real)
    longer = run(config(tmp_path / "cut", max_steps=11))
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    assert longer["steps"] == whole["steps"] == 11
    changes = json.loads((tmp_path / "cut" / "manifest.json").read_text())["changes"]
    assert {(row["key"], row["step"]) for row in changes} == {("checkpoint_every_steps", 5), ("max_steps", 5)}
    with pytest.raises(ConfigError, match="has done 11 updates, and max_steps now asks for 8"):
        run(config(tmp_path / "cut"))


def test_the_policy_loads_everywhere_and_the_run_is_not_done_twice(tmp_path: Path, monkeypatch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    summary = run(config(tmp_path))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert model.config.vocab_size == len(tokenizer)
    monkeypatch.setattr(pretrain, "train", None)
    assert run(config(tmp_path)) == summary


def test_another_seed_gives_another_policy(tmp_path: Path) -> None:
    for seed in (5, 6):
        run(config(tmp_path / str(seed), seed=seed))
    weights = [(tmp_path / seed / "policy" / "model.safetensors").read_bytes() for seed in ("5", "6")]
    assert weights[0] != weights[1]


def test_a_base_that_fails_the_gate_is_an_error_that_names_the_knob(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"needs gate_pass = 0\.9; raise max_steps"):
        run(config(tmp_path, gate_pass=0.9))
    assert (tmp_path / "policy" / "config.json").exists()
    assert not (tmp_path / "summary.json").exists()


def test_the_decay_begins_when_the_gate_opens(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pretrain, "measure", lambda trainer: {2: 0.8, 3: 0.75})
    summary = run(config(tmp_path, gate_open=0.75, max_steps=50))
    assert summary["steps"] == 3 + 2
    assert rows(tmp_path)[-1]["lr"] == pytest.approx(config(tmp_path).lr / 2)


def test_the_gate_judges_the_weakest_length(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pretrain, "measure", lambda trainer: {2: 1.0, 3: 0.74})
    assert run(config(tmp_path, gate_open=0.75))["steps"] == 8


def test_learning_rate_warms_up_holds_and_decays_to_zero() -> None:
    c = config(Path("unused"), warmup_steps=4, decay_steps=4, max_steps=20)
    at = [rate_share(c, PretrainState(step=s, decay_from=10)) for s in range(14)]
    assert at[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert at[9:] == [1.0, 1.0, 0.75, 0.5, 0.25]
    assert last_step(c, PretrainState()) == 20
    assert last_step(c, PretrainState(decay_from=10)) == 14


def test_the_router_bias_stops_with_the_learning_rate(tmp_path: Path) -> None:
    c = config(tmp_path, decay_steps=5, max_steps=10)
    c.run_dir.mkdir(exist_ok=True)
    trainer, state = pretrain.start(c)
    biases = [b for n, b in trainer.model.named_buffers() if n.endswith("e_score_correction_bias")]
    moved = []
    for step in (4, 9):
        before = [b.clone() for b in biases]
        pretrain.update(trainer, replace(state, step=step, decay_from=5))
        moved.append(max(float((b - a).abs().max()) for a, b in zip(before, biases, strict=True)))
    assert moved == [pytest.approx(c.router.bias_rate), pytest.approx(c.router.bias_rate / 5)]


def test_a_cut_checkpoint_is_named(tmp_path: Path, monkeypatch) -> None:
    run(config(tmp_path))
    (tmp_path / "summary.json").unlink()
    checkpoint = tmp_path / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    with pytest.raises(BrokenRun, match=r"checkpoint\.safetensors: not a checkpoint of this run"):
        run(config(tmp_path))


def test_another_config_does_not_resume(tmp_path: Path) -> None:
    run(config(tmp_path))
    with pytest.raises(ConfigError, match=r"lr: 0\.002 there, 0\.001 now"):
        run(config(tmp_path, lr=1e-3))


def test_threads_are_given_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run(config(tmp_path))
    assert torch.get_num_threads() == before


def test_the_shipped_recipe_is_valid() -> None:
    assert load_config(PretrainConfig, "tiny-base", ["seed=3"]).seed == 3


def test_the_sequence_wise_balance_is_learnt_where_there_are_experts(tmp_path: Path) -> None:
    more: dict[str, Any] = {"max_steps": 30, "gate_every_steps": 15}
    run(config(tmp_path / "strong", router={"bias_rate": 0.0, "sequence_loss": 1.0}, **more))
    run(config(tmp_path / "weak", router={"bias_rate": 0.0, "sequence_loss": 1e-9}, **more))
    ends = {
        name: sum(row["loss/balance"] for row in rows(tmp_path / name)[-5:]) / 5 / alpha
        for name, alpha in (("strong", 1.0), ("weak", 1e-9))
    }
    assert ends["strong"] < ends["weak"]
    assert "loss/balance" not in rows_of(tmp_path)
    with pytest.raises(
        ConfigError, match=r"router\.sequence_loss: the policy \(qwen3\) has no routed experts"
    ):
        run(config(tmp_path / "dense", router={"sequence_loss": 0.1}, **TIED))


def rows_of(tmp_path: Path, **changes: object) -> dict[str, float]:
    run(config(tmp_path / "plain", **changes))
    return rows(tmp_path / "plain")[0]
