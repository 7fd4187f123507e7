"""`grpo chat` against a server on this machine: what it sends, what it prints, and how its own server ends."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from grpo.common import own_server
from grpo.common.errors import RunError
from grpo.common.policy_folder import Prompting
from grpo.tools import chat
from grpo.tools.chat import Sampling, Server, talk
from policies.tokenizer import load_tokenizer
from tests.policies.tiny import CHAT_TEMPLATE, write_tokenizer

GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=9)


class Fake(ThreadingHTTPServer):
    """Answers with the number of messages it was sent, in pieces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.finish = "stop"


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        model = {"id": "tiny", "object": "model", "created": 0, "owned_by": "us"}
        self.send(200, "application/json", json.dumps({"object": "list", "data": [model]}).encode())

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.keys.add(self.headers.get("Authorization"))
        self.server.requests.append(request)
        if request["messages"][-1]["content"] == "refuse this":
            self.send(400, "application/json", b'{"error": {"message": "not like this", "code": 400}}')
            return
        pieces = [{"content": "<think>"}, {"content": f"</think> {len(request['messages'])}"}, {}]
        events = [
            {
                "id": "x", "object": "chat.completion.chunk", "created": 0, "model": "tiny",
                "choices": [{"index": 0, "delta": p, "finish_reason": None if p else self.server.finish}],
            }
            for p in pieces
        ]  # fmt: skip
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self.send(200, "text/event-stream", text.encode())


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def contents(fake: Fake) -> list[list[str]]:
    return [[f"{m['role'][0]}:{m['content']}" for m in request["messages"]] for request in fake.requests]


def test_a_conversation_is_sent_whole_until_it_is_reset(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "one\n\n two \n/reset\nthree\n/system be brief\nfour\n/system\nfive\n/exit\nsix\n"
    talk(Server(fake.url), None, GREEDY, io.StringIO(lines))
    answer = "a:<think></think> 1"
    assert contents(fake) == [
        ["u:one"], ["u:one", answer, "u: two "], ["u:three"], ["s:be brief", "u:four"], ["u:five"],
    ]  # fmt: skip
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"<think></think> {n}" for n in (1, 3, 1, 2, 1)]
    assert {(r["temperature"], r["top_p"], r["max_tokens"], r["stream"]) for r in fake.requests} == {
        (0, 1, 9, True)
    }
    assert not any("skip_special_tokens" in r for r in fake.requests)


def test_a_template_without_turns_gets_one_question_at_a_time(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(fake.url, one_turn=True, prefill="<think>\n", stop_token_ids=(7,), is_ours=True)
    talk(server, None, GREEDY, io.StringIO("one\ntwo"))
    assert contents(fake) == [["u:one"], ["u:two"]]
    assert capsys.readouterr().out == "<think>\n<think></think> 1\n" * 2
    assert {(r["skip_special_tokens"], tuple(r["stop_token_ids"])) for r in fake.requests} == {(False, (7,))}


def test_what_is_refused_is_told_and_leaves_the_conversation(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(Server(fake.url), "s", GREEDY, io.StringIO("one\nrefuse this\n/nonsense\ntwo\n"))
    assert contents(fake)[2] == ["s:s", "u:one", "a:<think></think> 2", "u:two"]
    errors = capsys.readouterr().err
    assert "not like this" in errors
    assert "no command /nonsense" in errors


def test_a_reply_cut_at_its_limit_says_so_and_the_key_is_sent(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.finish = "length"
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    talk(Server(fake.url), None, GREEDY, io.StringIO("one\n"))
    captured = capsys.readouterr()
    assert "cut at the length limit" in captured.err
    assert "secret" not in captured.out + captured.err
    assert fake.keys == {"Bearer secret"}


def test_without_a_server_the_error_says_how_to_start_one() -> None:
    with pytest.raises(RunError, match="`grpo serve POLICY` starts one"):
        chat.run(
            None, url="http://127.0.0.1:1", system=None, template=None, sampling=GREEDY, serve_options=()
        )


def test_a_policy_that_nobody_knows_how_to_prompt_is_refused_before_a_server_starts(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, chat_template=None)
    (tmp_path / "config.json").write_text('{"architectures": ["X"]}')
    with pytest.raises(RunError, match="add --template r1-zero, plain or a Jinja file"):
        chat.run(str(tmp_path), url=None, system=None, template=None, sampling=GREEDY, serve_options=())


@pytest.mark.parametrize(
    ("how", "shown"),
    [
        (Prompting("r1-zero"), ""),
        (Prompting("plain", preamble="p", prefill="a"), "a"),
        (Prompting("chat"), "<think>\n"),
        (Prompting("chat", prefill="so"), "<think>\nso"),
        (Prompting("own.jinja"), ""),
    ],
)
def test_what_the_prompt_holds_of_the_reply_is_shown(tmp_path: Path, how: Prompting, shown: str) -> None:
    opens = CHAT_TEMPLATE.replace("assistant\n' }}", "assistant\n<think>\n' }}")
    assert opens != CHAT_TEMPLATE
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, chat_template=opens))
    assert chat.shown_prefill(how, tokenizer) == shown


def child(code: str, log: Any = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=log or subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def test_a_server_that_does_not_start_tells_why(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        process = child("print('the reason'); raise SystemExit(3)", log)
        with pytest.raises(RunError, match=r"exit status 3\):\nthe reason"):
            own_server.wait_until_ready(process, "http://127.0.0.1:1", log)


@pytest.mark.parametrize("ignores", ["SIGTERM", "SIGWINCH"])
def test_a_server_is_ended_even_if_it_does_not_listen(ignores: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_server, "STOP_TIMEOUT_S", 0.5)
    process = child(
        f"import signal, time; signal.signal(signal.{ignores}, signal.SIG_IGN)\n"
        "print('up', flush=True); time.sleep(600)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    own_server.stop(process)
    assert process.returncode == -(signal.SIGKILL if ignores == "SIGTERM" else signal.SIGTERM)
    process.stdout.close()
