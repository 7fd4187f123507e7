"""The client against a scripted server: what it sends, what it repeats, and how every failure ends."""

from __future__ import annotations

import email.utils
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from rewards.llm import client as client_module
from rewards.llm.client import Llm
from rewards.llm.config import LlmConfig
from rewards.llm.errors import BudgetSpent, LlmError, LlmRefused, LlmUnavailable
from rewards.llm.types import Answer, Request
from tests.scripted_llm import Script, dripping, raw, reset, say, truncated

QUESTION = Request.of("Is 4 even?", system="Answer yes or no.", seed=7)
NOTHING = b'{"choices": []}'


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_PAUSE_S", 0.01)


def with_(config: LlmConfig, **changes: object) -> LlmConfig:
    return LlmConfig.model_validate(config.model_dump() | changes)


def test_what_is_sent_and_what_comes_back(script: Script, config: LlmConfig) -> None:
    script.steps = [say("yes")]
    with Llm(with_(config, extra={"reasoning_effort": "low"})) as llm:
        assert llm.ask(QUESTION) == Answer("yes", "stop", 10, 5, is_cached=False)
    assert script.asked == [
        {
            "model": "scripted",
            "messages": [
                {"role": "system", "content": "Answer yes or no."},
                {"role": "user", "content": "Is 4 even?"},
            ],
            "temperature": 0.6,
            "top_p": 0.95,
            "max_tokens": 2048,
            "seed": 7,
            "reasoning_effort": "low",
        }
    ]
    assert "Authorization" not in script.headers[0]


def test_a_key_comes_from_the_environment_and_is_stored_nowhere(
    script: Script, config: LlmConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.steps = [say("yes")]
    with pytest.raises(LlmRefused, match=r"MY_KEY.*not set"):
        Llm(with_(config, api_key_env="MY_KEY"))
    monkeypatch.setenv("MY_KEY", "secret-value")
    with Llm(with_(config, api_key_env="MY_KEY")) as llm:
        llm.ask(QUESTION)
    assert script.headers[0]["Authorization"] == "Bearer secret-value"
    stored = b"".join(path.read_bytes() for path in config.cache.rglob("*") if path.is_file())
    assert b"secret-value" not in stored


@pytest.mark.parametrize(
    "broken",
    [
        raw(b"too many", 429),
        raw(b'{"error": {"message": "busy"}}', 503),
        raw(b"oops", 500),
        raw(b"not json at all"),
        raw(NOTHING),
        raw(b'{"choices": [{"message": {"content": ["a list"]}}]}'),
        raw(b'[{"choices": 1}]'),
        raw(b"\xff\xfe"),
        truncated,
        reset,
    ],
    ids=[
        "429", "503", "500", "no-json", "no-choice", "list-content", "list", "bytes", "truncated", "reset",
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(script: Script, config: LlmConfig, broken: object) -> None:
    script.steps = [broken, broken, say("yes")]  # type: ignore[list-item]
    with Llm(config) as llm:
        assert llm.ask(QUESTION).text == "yes"
    assert len(script.asked) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [(400, "prompt is too long"), (401, "set api_key_env"), (404, "check url and model")],
)
def test_what_cannot_pass_is_refused_at_once(
    script: Script, config: LlmConfig, status: int, words: str
) -> None:
    script.steps = [raw(b'{"error": {"message": "prompt is too long"}}', status)]
    with Llm(config) as llm, pytest.raises(LlmRefused, match=words):
        llm.ask(QUESTION)
    assert len(script.asked) == 1


def test_attempts_end_and_the_last_reason_is_named(script: Script, config: LlmConfig) -> None:
    script.steps = [raw(b"first", 500), raw(b"the last word", 502)]
    with Llm(with_(config, attempts=3)) as llm, pytest.raises(LlmUnavailable, match=r"3 of 3.*the last word"):
        llm.ask(QUESTION)
    assert len(script.asked) == 3


@pytest.mark.parametrize("as_date", [False, True])
def test_a_servers_retry_after_is_waited_for(script: Script, config: LlmConfig, as_date: bool) -> None:
    value = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "0.4"
    script.steps = [raw(b"", 429, {"Retry-After": value}), say("yes")]
    with Llm(config) as llm:
        assert llm.ask(QUESTION).text == "yes"
    assert script.times[1] - script.times[0] >= 0.4


def test_a_retry_after_past_the_deadline_ends_the_request_without_waiting(
    script: Script, config: LlmConfig
) -> None:
    script.steps = [raw(b"", 429, {"Retry-After": "3600"})]
    with Llm(config) as llm, pytest.raises(LlmUnavailable, match="leaves no time"):
        llm.ask(QUESTION)
    assert len(script.asked) == 1


def test_a_retry_after_holds_back_the_other_requests_too(script: Script, config: LlmConfig) -> None:
    script.steps = [raw(b"", 429, {"Retry-After": "0.5"}), say("yes")]
    with Llm(with_(config, concurrency=1)) as llm:
        first = threading.Thread(target=llm.ask, args=(QUESTION,))
        first.start()
        assert llm.ask(Request.of("another")).text == "yes"
        first.join()
    assert min(script.times[1:]) - script.times[0] >= 0.5


@pytest.mark.timeout(40)  # the server sends for ever, and the attempt alone would have 300 s
@pytest.mark.parametrize("step", [dripping, None], ids=["a byte at a time", "silent"])
def test_a_slow_server_ends_at_the_deadline_whatever_it_sends(
    script: Script, config: LlmConfig, step: object
) -> None:
    script.steps = [step or say("late")]  # type: ignore[list-item]
    script.delay_s = 0.0 if step else 60.0
    slow = with_(config, request_s=0.2, deadline_s=0.6)
    with Llm(slow) as llm, pytest.raises(LlmUnavailable, match=r"no answer within 0\.\d+ s"):
        llm.ask(QUESTION)


def test_a_server_that_is_gone_costs_all_its_attempts_once(config: LlmConfig) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    gone = with_(config, url=url, attempts=5, concurrency=1)
    with Llm(gone) as llm:
        with pytest.raises(LlmUnavailable, match="grpo serve"):
            llm.check()
        found = llm.ask_all([Request.of(str(number)) for number in range(30)])
    assert all(isinstance(error, LlmUnavailable) for error in found)
    assert "5 of 5" in str(found[0])
    assert {str(error).partition("attempts")[0][-7:] for error in found[1:]} == {"1 of 5 "}


def test_after_a_server_came_back_all_attempts_are_made_again(script: Script, config: LlmConfig) -> None:
    script.steps = [raw(b"", 500), raw(b"", 500), say("back"), raw(b"", 500), say("again")]
    with Llm(with_(config, attempts=2)) as llm:
        with pytest.raises(LlmUnavailable):
            llm.ask(QUESTION)
        assert llm.ask(Request.of("b")).text == "back"
        assert llm.ask(Request.of("c")).text == "again"


def test_a_reasoning_models_missing_text_is_an_empty_answer(script: Script, config: LlmConfig) -> None:
    script.steps = [say(None, "length")]
    with Llm(config) as llm:
        assert llm.ask(QUESTION) == Answer("", "length", 10, 5, is_cached=False)


def test_answers_are_kept_across_clients_and_by_content(script: Script, config: LlmConfig) -> None:
    script.answer = lambda sent: say(f"seed {sent['seed']} of {sent['model']} at {sent['temperature']}")
    with Llm(config) as llm:
        llm.ask_all(QUESTION.votes(3))
    with Llm(config) as llm:
        found = llm.ask_all(QUESTION.votes(4))
        assert [answer.is_cached for answer in found if isinstance(answer, Answer)] == [True] * 3 + [False]
        assert [answer.text for answer in found if isinstance(answer, Answer)] == [
            f"seed {seed} of scripted at 0.6" for seed in (7, 8, 9, 10)
        ]
    with Llm(with_(config, temperature=0.0)) as llm:
        assert llm.ask(QUESTION).text == "seed 7 of scripted at 0.0"
    assert len(script.asked) == 5


def test_a_cached_answer_needs_no_server(script: Script, config: LlmConfig) -> None:
    script.steps = [say("\ud800 lone surrogate")]
    with Llm(config) as llm:
        llm.ask(QUESTION)
    with Llm(with_(config, url="http://127.0.0.1:9/v1")) as llm:
        assert llm.ask(QUESTION).text == "\ud800 lone surrogate"


def test_a_damaged_answer_is_asked_for_again(script: Script, config: LlmConfig) -> None:
    script.steps = [say("one"), say("two")]
    with Llm(config) as llm:
        llm.ask(QUESTION)
    (path,) = config.cache.glob("??/*.json")
    for damage in (b"", b'{"answer": {"text": 5}}', b"\xff", path.read_bytes()[:40]):
        path.write_bytes(damage)
        with Llm(config) as llm:
            assert llm.ask(QUESTION).text == "two"
        assert json.loads(path.read_text())["answer"]["text"] == "two"


def test_equal_requests_at_one_time_are_sent_once(script: Script, config: LlmConfig) -> None:
    script.steps, script.delay_s = [say("yes")], 0.1
    with Llm(config) as llm:
        assert {answer.text for answer in llm.ask_all([QUESTION] * 20) if isinstance(answer, Answer)} == {
            "yes"
        }
    assert len(script.asked) == 1


def test_no_more_requests_are_in_flight_than_allowed(script: Script, config: LlmConfig) -> None:
    script.steps, script.delay_s = [say("yes")], 0.05
    with Llm(with_(config, concurrency=3)) as llm:
        llm.ask_all([Request.of(str(number)) for number in range(12)])
    assert script.most_at_once == 3


def test_requests_start_no_faster_than_the_rate(script: Script, config: LlmConfig) -> None:
    script.steps = [say("yes")]
    with Llm(with_(config, requests_per_minute=600)) as llm:
        llm.ask_all([Request.of(str(number)) for number in range(6)])
    assert max(script.times) - min(script.times) >= 0.45


def test_the_budget_of_requests_counts_all_runs_and_keeps_what_was_answered(
    script: Script, config: LlmConfig
) -> None:
    script.steps = [say("yes")]
    requests = [Request.of(str(number)) for number in range(10)]
    with Llm(with_(config, budget_requests=4)) as llm:
        found = llm.ask_all(requests)
        assert sum(isinstance(answer, Answer) for answer in found) == len(script.asked) == 4
        assert {type(answer) for answer in found} == {Answer, BudgetSpent}
    with (
        Llm(with_(config, budget_requests=4)) as llm,
        pytest.raises(BudgetSpent, match="budget_requests = 4"),
    ):
        llm.ask(Request.of("new"))
    with Llm(with_(config, budget_requests=10)) as llm:
        assert all(isinstance(answer, Answer) for answer in llm.ask_all(requests))
    assert len(script.asked) == 10


def test_the_budget_of_tokens_counts_prompts_and_answers(script: Script, config: LlmConfig) -> None:
    script.steps = [say("yes")]
    with Llm(with_(config, budget_tokens=45, concurrency=1)) as llm:
        found = llm.ask_all([Request.of(str(number)) for number in range(9)])
    assert [isinstance(answer, Answer) for answer in found].count(True) == 3  # 15 tokens each


def test_failed_attempts_count_as_requests(script: Script, config: LlmConfig) -> None:
    script.steps = [raw(b"", 500)]
    with Llm(with_(config, budget_requests=2)) as llm, pytest.raises(BudgetSpent):
        llm.ask(QUESTION)
    assert len(script.asked) == 2


def test_the_model_is_the_only_one_or_one_that_is_offered(script: Script, config: LlmConfig) -> None:
    script.steps = [say("yes")]
    with Llm(with_(config, model=None)) as llm:
        assert llm.check() == "scripted"
        llm.ask(QUESTION)
    assert script.asked[0]["model"] == "scripted"
    script.models = ["a", "b"]
    for model in (None, "c"):
        with (
            Llm(with_(config, model=model)) as llm,
            pytest.raises(LlmRefused, match="offers a, b; set model"),
        ):
            llm.check()
    with (
        Llm(with_(config, url=script.url.removesuffix("/v1"))) as llm,
        pytest.raises(LlmRefused, match="404"),
    ):
        llm.check()


def test_a_client_that_asks_nothing_writes_nothing(script: Script, config: LlmConfig) -> None:
    with Llm(config) as llm:
        llm.check()
    assert not config.cache.exists()


def test_closing_ends_what_is_in_flight(script: Script, config: LlmConfig) -> None:
    script.steps, script.delay_s = [say("late")], 60.0
    llm = Llm(config)
    errors: list[LlmError] = []

    def wait() -> None:
        try:
            llm.ask(QUESTION)
        except LlmError as error:
            errors.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not script.asked:
        time.sleep(0.01)
    llm.close()
    llm.close()
    waiting.join(10)
    assert not waiting.is_alive()
    assert "closed" in str(errors[0])
    with pytest.raises(LlmUnavailable, match="closed"):
        llm.ask(QUESTION)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"url": "127.0.0.1:8000"}, "is no address"),
        ({"url": "http://me:secret@host/v1"}, "api_key_env"),
        ({"url": "http://h/v1", "policy": "runs/a"}, "one of url"),
        ({}, "one of url"),
        ({"policy": "runs/a", "model": "b"}, "belong to url"),
        ({"url": "http://h/v1", "api_key_env": "sk-123"}, "not the key"),
    ],
)
def test_a_wrong_section_is_refused(keys: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        LlmConfig.model_validate({"cache": str(tmp_path), **keys})
