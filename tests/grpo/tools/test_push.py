"""`grpo push` against a hub on this machine that speaks as much of the protocol as the library asks for."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from policies.export import save_policy
from tests.policies.tiny import tiny_policy, write_tokenizer
from tests.tiny import command, environment

SECRET = "hf_a-secret-that-is-never-printed"
COMMIT = "0123456789" * 4
CARD = "---\nlibrary_name: transformers\n---\n# x\n"


class Hub(ThreadingHTTPServer):
    """What the hub holds, and what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.private: bool | None = None
        """None: there is no repository yet."""
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.branches: list[str] = []
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()
        self.refuse = ""


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, tree: Any, status: int = 200, **headers: str) -> None:
        data = json.dumps(tree).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {self.path}")
        if self.path.startswith(("/api/models/", "/api/repos/", "/me/")):
            self.server.tokens.add(self.headers.get("Authorization"))
        return data

    def do_GET(self) -> None:
        self.body()
        if self.server.private is None:
            self.answer({"error": "none"}, 404, X_Error_Code="RepoNotFound")
        else:
            self.answer({"id": "me/model", "private": self.server.private, "sha": COMMIT, "siblings": []})

    def do_PUT(self) -> None:
        self.server.objects[self.path.rpartition("/")[2]] = self.body()
        self.answer({})

    def do_POST(self) -> None:
        hub, data = self.server, self.body()
        if hub.refuse and hub.refuse in self.path:
            self.answer({"error": "not for you"}, 403, X_Error_Message="not for you")
        elif self.path == "/api/repos/create":
            hub.private = json.loads(data)["visibility"] == "private"
            self.answer({"url": f"{hub.url}/me/model"})
        elif "/branch/" in self.path:
            hub.branches.append(self.path.rpartition("/")[2])
            self.answer({})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(data)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            self.answer({"files": modes})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {
                    "oid": item["oid"],
                    "size": item["size"],
                    "actions": {"upload": {"href": f"{hub.url}/upload/{item['oid']}", "header": {}}},
                }
                for item in json.loads(data)["objects"]
            ]
            self.answer({"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in data.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    hub.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "lfsFile":
                    hub.files[entry["value"]["path"]] = hub.objects[entry["value"]["oid"]]
            self.answer({"commitOid": COMMIT, "commitUrl": f"{hub.url}/me/model/commit/{COMMIT}"})
        else:
            self.answer({"error": self.path}, 404)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    policy = save_policy(
        tiny_policy("tiny-llama"), folder / "run" / "policy", write_tokenizer(folder / "tokenizer")
    )
    (policy / "README.md").write_text(CARD)
    (policy / "adapter").mkdir()
    (policy / "adapter" / "adapter_config.json").write_text("{}")
    for name in ("training.py", "state.pt", ".secret.json"):
        (policy / name).write_text("no")
    return folder / "run"


def push(hub: Hub | None, *words: str | Path, token: str | None = SECRET) -> subprocess.CompletedProcess[str]:
    variables = {k: v for k, v in environment().items() if not k.startswith("HF_")}
    variables["HF_HUB_DISABLE_XET"] = "1"  # the stub stores files over plain HTTP
    variables["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    variables["HF_ENDPOINT"] = hub.url if hub else "http://127.0.0.1:1"
    if token:
        variables["HF_TOKEN"] = token
    done = subprocess.run(command("push", *words), capture_output=True, text=True, timeout=120, env=variables)
    assert SECRET not in done.stdout + done.stderr
    return done


def policy_files(run: Path) -> dict[str, bytes]:
    policy = run / "policy"
    names = [str(p.relative_to(policy)) for p in policy.rglob("*") if p.is_file()]
    return {
        n: (policy / n).read_bytes() for n in names if n not in ("training.py", "state.pt", ".secret.json")
    }


def test_a_run_folder_goes_whole_into_a_private_repository(hub: Hub, run: Path) -> None:
    done = push(hub, run, "me/model")
    assert done.returncode == 0, done.stderr
    assert hub.private is True
    assert hub.files == policy_files(run)
    assert hub.tokens == {f"Bearer {SECRET}"}
    assert done.stdout.rstrip().endswith(f"{hub.url}/me/model/commit/{COMMIT}")
    for name in ("training.py", "state.pt", ".secret.json"):
        assert f"left out  {name}" in done.stdout


def test_public_and_a_branch_when_asked_for(hub: Hub, run: Path) -> None:
    assert push(hub, run, "me/model", "--public", "--revision", "v2").returncode == 0
    assert hub.private is False
    assert hub.branches == ["v2"]
    assert any("/commit/v2" in line for line in hub.asked)


def test_a_repository_that_is_public_already_needs_the_word(hub: Hub, run: Path) -> None:
    hub.private = False
    done = push(hub, run, "me/model")
    assert done.returncode == 1
    assert "exists and is public; add --public" in done.stderr
    assert hub.files == {}
    assert push(hub, run, "me/model", "--public").returncode == 0
    assert hub.files == policy_files(run)


def test_a_dry_run_lists_the_files_and_asks_nobody(hub: Hub, run: Path) -> None:
    done = push(hub, run, "me/model", "--dry-run", token=None)
    assert done.returncode == 0
    assert all(name in done.stdout for name in policy_files(run))
    assert hub.asked == []


def test_an_adapter_alone_can_be_pushed(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "README.md").write_text(CARD)
    assert push(hub, tmp_path, "me/adapter").returncode == 0
    assert set(hub.files) == {"adapter_config.json", "README.md"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["me/model"], "no HF_TOKEN in the environment"),
        (["model"], "write OWNER/NAME"),
        (["me/mo del"], "me/mo del"),
        (["a/b/c"], "a/b/c"),
    ],
)
def test_what_is_missing_is_named(run: Path, words: list[str], message: str) -> None:
    done = push(None, run, *words, token=None)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("card", "message"), [(None, "no model card"), ("---\na: [\n---\n", "not valid YAML")]
)
def test_a_card_that_a_hub_refuses_is_refused_first(
    hub: Hub, tmp_path: Path, card: str | None, message: str
) -> None:
    policy = save_policy(
        tiny_policy("tiny-llama"), tmp_path / "policy", write_tokenizer(tmp_path / "tokenizer")
    )
    if card:
        (policy / "README.md").write_text(card)
    done = push(hub, policy, "me/model")
    assert done.returncode == 1
    assert message in done.stderr
    assert hub.asked == []


def test_a_hub_that_refuses_or_is_away_is_one_error(hub: Hub, run: Path) -> None:
    hub.refuse = "/commit/"
    done = push(hub, run, "me/model")
    assert done.returncode == 1
    assert "the hub did not take me/model" in done.stderr
    assert "not for you" in done.stderr
    assert "Traceback" not in done.stderr
    away = push(None, run, "me/model")
    assert away.returncode == 1
    assert "Traceback" not in away.stderr
    assert os.environ.get("HF_TOKEN") != SECRET


def test_a_finished_run_without_a_card_gets_one(hub: Hub, tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_policy(tiny_policy("tiny-llama"), run / "policy", write_tokenizer(tmp_path / "tokenizer"))
    (run / "config.json").write_text(json.dumps({"stage": "rl", "seed": 3}))
    (run / "summary.json").write_text(json.dumps({"final_pass1": 0.5}))
    assert push(hub, run, "me/model").returncode == 0
    assert "| `final_pass1` | 0.5 |" in hub.files["README.md"].decode()
