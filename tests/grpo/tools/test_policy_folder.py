"""Which folder a name means, and how its policy was prompted; what `grpo serve` checks before vLLM is imported."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from grpo.common.errors import ConfigError, RunError
from grpo.common.policy_folder import Prompting, find_policy, policy_name, prompting
from grpo.tools import serve
from policies.errors import PolicyError
from policies.export import save_policy
from policies.tokenizer import load_tokenizer
from rollout.config import EngineConfig
from rollout.errors import RolloutError
from rollout.vllm_server import LORA_RANKS, ServerOptions, server_defaults
from rollout.vllm_settings import engine_args
from tests.policies.tiny import tiny_policy, write_tokenizer


def model_folder(path: Path, **config: Any) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(
        json.dumps({"architectures": ["X"], "max_position_embeddings": 64} | config)
    )
    return path


def run_folder(path: Path, config: dict[str, Any] | None = None) -> Path:
    model_folder(path / "policy")
    (path / "config.json").write_text(json.dumps(config or {"stage": "rl"}))
    return path


def test_a_model_folder_and_a_run_folder_mean_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_folder(tmp_path / "my-run")
    assert find_policy(str(run)) == run / "policy"
    assert find_policy(str(run / "policy")) == run / "policy"
    assert policy_name(run / "policy") == "my-run"
    assert policy_name(model_folder(tmp_path / "other")) == "other"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_policy("~/my-run") == run / "policy"
    monkeypatch.chdir(run / "policy")
    assert policy_name(Path(".")) == "my-run"


def test_a_folder_without_a_policy_names_those_inside(tmp_path: Path) -> None:
    graph = tmp_path / "graph"
    run_folder(graph / "zero")
    model_folder(graph / "checkpoints" / "step-000010" / "policy")
    with pytest.raises(ConfigError, match="holds no policy") as caught:
        find_policy(str(graph))
    named = {str(graph / "zero" / "policy"), str(graph / "checkpoints" / "step-000010" / "policy")}
    assert set(str(caught.value).partition("there are ")[2].split(", ")) == named
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="a run exports it at its end"):
        find_policy(str(tmp_path / "empty"))
    with pytest.raises(PolicyError, match="no such folder"):
        find_policy(str(tmp_path / "missing"))


def test_an_adapter_is_offered_beside_its_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "runs/base", "r": 3}')
    with pytest.raises(ConfigError, match=f"grpo serve runs/base --adapter NAME={tmp_path}"):
        find_policy(str(tmp_path))
    assert serve.parse_adapter(f"x={tmp_path}") == ("x", tmp_path)
    assert serve.adapter_rank(tmp_path) == 3
    for text in ("x", "x=", f"={tmp_path}", f"x={tmp_path}/no"):
        with pytest.raises(ConfigError, match="--adapter"):
            serve.parse_adapter(text)
    (tmp_path / "adapter_config.json").write_text('{"r": 1000}')
    with pytest.raises(ConfigError, match="r = 1000"):
        serve.adapter_rank(tmp_path)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"stage": "rl", "data": {"template": "r1-zero"}}, Prompting("r1-zero")),
        (
            {"stage": "rl", "data": {"template": "chat", "system": "s", "prefill": "<think>\n"}},
            Prompting("chat", "s", "<think>\n"),
        ),
        ({"stage": "sft", "data": {"format": "chat", "template": None}}, Prompting("chat")),
        (
            {
                "stage": "rl",
                "data": {"template": "plain", "preamble": "p"},
                "sampling": {"stop_tokens": ["\n"]},
            },
            Prompting("plain", preamble="p", stop_tokens=("\n",)),
        ),
        ({"stage": "sft", "data": {"format": "columns", "template": None}}, None),
        ({"stage": "pretrain"}, None),
        ({"architectures": ["X"]}, None),
    ],
)
def test_the_runs_config_says_how_the_policy_was_prompted(
    tmp_path: Path, config: dict[str, Any], expected: Prompting | None
) -> None:
    assert prompting(run_folder(tmp_path / "run", config) / "policy") == expected


def test_the_template_of_training_is_served_unless_another_is_named(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path / "tokenizer"))
    trained = Prompting("r1-zero", prefill="<think>")
    zero = serve.chosen_template(None, tokenizer, trained)
    assert zero is not None
    assert "<think>" in zero
    assert serve.chosen_template("r1-zero", tokenizer, trained) == zero
    assert serve.chosen_template("r1-zero", tokenizer, None) != zero
    assert serve.chosen_template("chat", tokenizer, trained) is None
    assert serve.chosen_template(None, tokenizer, None) is None
    (tmp_path / "own.jinja").write_bytes(b"\xef\xbb\xbf{{ messages[0]['content'] }}")  # as Windows writes it
    assert (
        serve.chosen_template(str(tmp_path / "own.jinja"), tokenizer, trained)
        == "{{ messages[0]['content'] }}"
    )
    with pytest.raises(ConfigError, match="none of r1-zero, plain, chat"):
        serve.chosen_template("r1zero", tokenizer, trained)


def test_a_policy_that_vllm_cannot_compute_is_refused_before_vllm_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = save_policy(
        tiny_policy("tiny-llama"), tmp_path / "policy", write_tokenizer(tmp_path / "tokenizer")
    )
    config = json.loads((policy / "config.json").read_text())
    (policy / "config.json").write_text(json.dumps(config | {"head_dim": 40}))
    monkeypatch.setattr(serve, "has_gpu", lambda: False)
    with pytest.raises(RolloutError, match="heads are 40 wide"):
        serve.run(
            str(policy), host="127.0.0.1", port=8000, name=None, template="chat", adapters=(), dtype="auto",
            max_model_len=None, kv_cache_gib=None, threads=None, vllm_options=(),
        )  # fmt: skip


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve.require_free_port("127.0.0.1", port)
    serve.require_free_port("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False)],
)
def test_an_address_that_others_can_reach_is_pointed_out(
    host: str, local: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert serve.is_local(host) is local
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    serve.announce(Path("x"), ServerOptions("x", host=host), "float32", has_chat=True)
    assert ("anyone may use it" in capsys.readouterr().out) is not local


@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_server_computes_with_the_settings_of_the_engine(tmp_path: Path, on_cpu: bool) -> None:
    folder, config = model_folder(tmp_path / "m"), EngineConfig(dtype="float32")
    engine = engine_args(folder, config, on_cpu)
    server = server_defaults(folder, config, ServerOptions("m"), on_cpu)
    others = {
        "skip_tokenizer_init",
        "logprobs_mode",
        "generation_config",
        "async_scheduling",
        "disable_log_stats",
        "enable_sleep_mode",
    }
    assert {k: server[k] for k in engine.keys() - others} == {k: engine[k] for k in engine.keys() - others}
    assert not others & server.keys()
    assert server["host"] == "127.0.0.1"
    assert "enable_lora" not in server


@pytest.mark.parametrize(("rank", "offered"), [(1, 1), (4, 8), (8, 8), (33, 64), (512, 512)])
def test_an_adapter_of_any_rank_runs_under_one_that_vllm_has(tmp_path: Path, rank: int, offered: int) -> None:
    options = ServerOptions("m", adapters=(("a", tmp_path),), adapter_rank=rank)
    server = server_defaults(
        model_folder(tmp_path / "m"), EngineConfig(dtype="float32"), options, on_cpu=True
    )
    assert (server["enable_lora"], server["max_lora_rank"], server["max_loras"]) == (True, offered, 1)
    assert offered in LORA_RANKS
