"""`grpo serve` and `grpo chat` on a tiny DeepSeek-V3: what goes over HTTP is what the learner computes.

One server for all tests: vLLM takes half a minute to start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from data_recipes.templates import render
from policies.export import save_policy
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.lora import add_adapters, save_adapter
from policies.presets import new_policy, tiny_config
from policies.tokenizer import load_tokenizer
from rewards.config import RewardConfig
from rewards.llm.client import Llm
from rewards.llm.config import LlmConfig
from rewards.llm.types import Answer, Request
from rewards.rows import RewardRow
from rewards.scoring.scorer import Scorer
from tests.tiny import command, environment, free_port, make_base, run_grpo

pytestmark = pytest.mark.engine
QUESTION = "7 * 4 + 3"
TOLERANCE = 1e-4
"""Of log-probs between engine and learner in float32."""
START_S = 300


@dataclass(frozen=True)
class Served:
    """A server and the run that it serves."""

    url: str
    run: Path
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return dict(json.load(answer))


@contextmanager
def serving(run: Path, *options: str) -> Iterator[Served]:
    port, log = free_port(), run.parent / "log.txt"
    words = command("serve", run, "--port", str(port), "--kv-cache-gib", "0.1", "--threads", "1", *options)
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env=environment(), start_new_session=True
        )
    server = Served(f"http://127.0.0.1:{port}", run, process, log)
    try:
        wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def made_run(folder: Path, policy: Path) -> Path:
    """A run's folder with a policy, as far as `grpo serve` reads it."""
    run = folder / "my-run"
    run.mkdir()
    policy.rename(run / "policy")
    (run / "config.json").write_text(json.dumps({"stage": "rl", "data": {"template": "r1-zero"}}))
    return run


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    with serving(made_run(folder, make_base(folder))) as server:
        yield server


def wait_until_ready(server: Served) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        assert server.process.poll() is None, server.log.read_text()
        try:
            with urllib.request.urlopen(f"{server.url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(server.log.read_text())


def learner_logprobs(model: Any, prompt: list[int], completion: list[int]) -> list[float]:
    return sequence_logprobs(model, prompt + completion)[len(prompt) - 1 :].tolist()  # type: ignore[no-any-return]


def largest_difference(found: list[float], expected: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(found, expected, strict=True))


def check_logprobs(server: Served, name: str, model: Any) -> None:
    """Greedy and sampled tokens over HTTP have the learner's log-probs, behind the prompt of training."""
    tokenizer = load_tokenizer(server.run / "policy")
    rendered = render("r1-zero", QUESTION, tokenizer)
    prompt = tokenizer.encode(rendered.text, add_special_tokens=rendered.add_special_tokens)
    message = {"role": "user", "content": QUESTION}
    chat = server.ask(
        "/v1/chat/completions", model=name, messages=[message], temperature=0, max_tokens=24, logprobs=True,
        return_token_ids=True,
    )  # fmt: skip
    assert chat["prompt_token_ids"] == prompt
    (choice,) = chat["choices"]
    found = [token["logprob"] for token in choice["logprobs"]["content"]]
    assert largest_difference(found, learner_logprobs(model, prompt, choice["token_ids"])) < TOLERANCE
    completions = server.ask(
        "/v1/completions", model=name, prompt=rendered.text, n=4, temperature=1, seed=3, max_tokens=24, logprobs=0,
        return_token_ids=True,
    )  # fmt: skip
    assert len({choice["text"] for choice in completions["choices"]}) > 1
    for choice in completions["choices"]:
        expected = learner_logprobs(model, prompt, choice["token_ids"])
        assert largest_difference(choice["logprobs"]["token_logprobs"], expected) < TOLERANCE
    assert max(abs(value) for value in expected) > 1  # far from uniform and from certain


def test_log_probs_over_http_are_the_learners(served: Served) -> None:
    check_logprobs(served, "my-run", load_policy(served.run / "policy"))


@pytest.mark.slow
def test_an_adapters_log_probs_over_http_are_the_learners(tmp_path: Path) -> None:
    """A dense policy: for routed experts vLLM's adapters need a GPU."""
    tokenizer = make_base(tmp_path)
    config = tiny_config("tiny-llama", len(load_tokenizer(tokenizer)), eos_token_id=2)
    base = save_policy(new_policy(config, seed=3, weight_std=0.15), tmp_path / "llama", tokenizer)
    run = made_run(tmp_path, base)
    model: Any = load_policy(run / "policy")
    add_adapters(model, 4, 8.0, (), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, 0.1)
    save_adapter(model, tmp_path / "adapter", str(run / "policy"))
    with serving(run, "--adapter", f"extra={tmp_path / 'adapter'}") as server:
        check_logprobs(server, "extra", model)
        check_logprobs(server, "my-run", load_policy(run / "policy"))


def test_adapters_on_routed_experts_are_refused_before_a_model_loads(served: Served, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"r": 4}')
    done = run_grpo("serve", served.run, "--adapter", f"x={tmp_path}", timeout_s=60, check=False)
    assert done.returncode == 1
    assert "there the adapter is merged into the weights" in done.stderr


def test_a_conversation_behind_a_template_without_turns_is_refused_with_the_reason(served: Served) -> None:
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": QUESTION}]
    with pytest.raises(urllib.error.HTTPError) as caught:
        served.ask("/v1/chat/completions", model="my-run", messages=messages)
    assert caught.value.code == 400
    assert "trained on single questions" in caught.value.read().decode()


def test_the_client_of_judges_reads_what_the_server_writes(served: Served, tmp_path: Path) -> None:
    section = LlmConfig(url=f"{served.url}/v1", cache=tmp_path / "a", temperature=1.0, max_tokens=8)
    with Llm(section) as llm:
        assert llm.check() == "my-run"
        found = [
            answer for answer in llm.ask_all(Request.of(QUESTION).votes(4)) if isinstance(answer, Answer)
        ]
    assert len({answer.text for answer in found}) > 1
    assert all(0 < answer.completion_tokens <= 8 and answer.prompt_tokens > 8 for answer in found)
    with Llm(section.model_copy(update={"cache": tmp_path / "b"})) as llm:  # a seed has one answer
        again = [
            answer for answer in llm.ask_all(Request.of(QUESTION).votes(4)) if isinstance(answer, Answer)
        ]
    assert [(a.text, a.finish_reason) for a in again] == [(a.text, a.finish_reason) for a in found]
    with Scorer(
        [RewardConfig(name="judge_safety", llm=section)]
    ) as scorer:  # instructions need a system turn
        (score,) = scorer.score_rows([RewardRow("reply", "request")])
    assert (score.total, score.verdict) == (None, "error")
    assert "400 Bad Request" in score.reason


def test_chat_answers_each_line_of_a_pipe_with_the_servers_text(served: Served) -> None:
    lines = f"{QUESTION}\n/system be brief\n1 + 2\n/system\n/nonsense\n1 + 2\n/exit\n8 - 1\n"
    words = ["chat", "--url", f"{served.url}/v1", "--temperature", "0", "--max-tokens", "24"]
    done = subprocess.run(
        command(*words),
        input=lines,
        capture_output=True,
        text=True,
        timeout=200,
        env=environment(),
        check=True,
    )
    message = {"role": "user", "content": QUESTION}
    answer = served.ask(
        "/v1/chat/completions", model="my-run", messages=[message], temperature=0, max_tokens=24
    )
    assert done.stdout.startswith(answer["choices"][0]["message"]["content"] + "\n")
    assert (
        "trained on single questions" in done.stderr
    )  # a system message, and the second question of a conversation
    assert "no command /nonsense" in done.stderr


def test_a_taken_port_is_refused_before_a_model_loads(served: Served) -> None:
    port = served.url.rpartition(":")[2]
    done = run_grpo("serve", served.run, "--port", port, timeout_s=60, check=False)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in done.stderr


def test_ctrl_c_ends_every_process_with_exit_code_0(served: Served) -> None:
    """The last test of this server: it ends it. Ctrl-C reaches the whole process group."""
    family = [
        psutil.Process(served.process.pid),
        *psutil.Process(served.process.pid).children(recursive=True),
    ]
    assert len(family) > 1
    os.killpg(served.process.pid, signal.SIGINT)
    assert served.process.wait(60) == 0, served.log.read_text()
    assert psutil.wait_procs(family, timeout=20)[1] == []
    assert served.log.read_text().rstrip().endswith("stopped")
