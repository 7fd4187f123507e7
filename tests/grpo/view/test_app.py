"""The server: what it answers, to whom, what it streams, and that it serves nothing from elsewhere."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from grpo.common.console import LOG_FILE
from grpo.common.errors import ConfigError
from grpo.tracking.activity import ActivityLog
from grpo.tracking.run_dir import exclusive_lock
from grpo.view.app import PAGE, finite
from grpo.view.folders import check_roots, find_folders
from grpo.view.local import is_local
from grpo.view.serve import listen, serve
from grpo.view.status import is_held
from tests.grpo.view.world import make_run, phase, sample, serving


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    make_run(root / "a", 4)
    (root / "a" / "summary.json").write_text('{"steps": 4}')
    make_run(root / "deep" / "b", 2)
    phase(root / "deep" / "b", 3, [sample(3, 0, 0, completion="</textarea><script>alert(1)</script>")])
    return root


@pytest.fixture(scope="module")
def url(runs: Path) -> Iterator[str]:
    with serving(runs) as address:
        yield address


def fetch(url: str, headers: dict[str, str] | None = None) -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(url, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), {k.lower(): v for k, v in error.headers.items()}


def get(url: str, path: str, **parameters: Any) -> Any:
    code, text, _ = fetch(f"{url}/api/{path}?{urlencode(parameters, doseq=True)}")
    assert code == 200, text
    return json.loads(text)


def test_curves_of_several_runs_share_a_chart(url: str) -> None:
    charts = {chart["key"]: chart for chart in get(url, "curves", run=["a", "deep/b"])["charts"]}
    series = charts["reward/total"]["series"]
    assert [(s["run"], s["x"]) for s in series] == [("a", [1, 2, 3, 4]), ("deep/b", [1, 2, 3])]
    assert series[0]["y"] == pytest.approx([0.6, 0.7, 0.8, 0.9])
    assert next(iter(charts)) == "reward/total"
    assert charts["policy/kl"]["unit"] == "nats"


def test_samples_are_searched_filtered_sorted_and_paged(url: str) -> None:
    found = get(url, "samples", run="a", step_min=2, reward="accuracy", reward_min=1, sort="tokens", limit=3)
    assert (found["found"], found["samples"]) == (9, 24)
    assert [row["tokens"] for row in found["rows"]] == [15, 15, 14]
    assert found["components"] == ["accuracy", "format"]
    later = get(
        url, "samples", run="a", step_min=2, reward="accuracy", reward_min=1, sort="tokens", limit=3, offset=6
    )
    assert len(later["rows"]) == 3
    both = get(url, "samples", run=["a", "deep/b"], prompt="p2", limit=100)
    assert {row["run"] for row in both["rows"]} == {"a", "deep/b"}
    assert get(url, "count", run="deep/b", text="<SCRIPT>alert")["found"] == 1


def test_the_history_of_a_sample_explains_it(url: str) -> None:
    found = get(url, "sample", run="a", id="rl-4/1/0")
    assert dict(found["sampler"])["temperature"] == 0.7  # from_step 3: the phase that the fourth update ended
    assert dict(get(url, "sample", run="a", id="rl-3/1/0")["sampler"])["temperature"] == 1.0
    assert dict(found["sampler"]) | {"stop tokens": "</answer>", "seed": 7, "max_tokens": 64} == dict(
        found["sampler"]
    )
    accuracy, form = found["rewards"]
    assert accuracy == {
        "name": "accuracy", "column": "accuracy", "value": 1.0, "weight": 1.0, "part": 1.0, "reason": "no answer found",
    }  # fmt: skip
    assert (form["weight"], form["part"], form["reason"]) == (0.5, 0.5, "fine; or so")
    assert found["sample"]["advantage"] == 0.5
    assert found["sample"]["version_first"] == 3
    assert [other["id"] for other in found["group"]] == ["rl-4/1/0", "rl-4/1/1"]
    assert [(m["step"], m["samples"], m["mean"], m["best"]) for m in found["course"]] == [
        (step, 2, 1.0, 1.5) for step in (1, 2, 3, 4)
    ]
    assert found["kept"] == {"level": "hard"}


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("curves?run=none", 404, "no run 'none' here"),
        ("curves", 400, "name 1 to 24 runs"),
        ("samples?run=a&limit=many", 400, "limit = 'many'"),
        ("sample?run=a&id=rl-99/0/0", 404, "no sample 'rl-99/0/0' in a"),
        ("about?run=../../etc", 404, "no run"),
        ("graph?graph=a", 404, "no graph 'a'"),
    ],
)
def test_a_wrong_request_is_one_line_that_says_what(url: str, path: str, code: int, message: str) -> None:
    got, text, _ = fetch(f"{url}/api/{path}")
    assert got == code
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1", "[::1]:7420", "LOCALHOST:1"])
def test_a_forwarded_port_is_answered(url: str, host: str) -> None:
    assert fetch(f"{url}/", {"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.com", "localhost.evil.com", "127.0.0.1.evil.com:80", "localhost:7420@evil.com", ""]
)
def test_another_name_for_this_machine_is_refused(url: str, host: str) -> None:
    """A page on the internet can point its own name at 127.0.0.1; it must not read the run."""
    assert not is_local(host)
    code, text, _ = fetch(f"{url}/api/curves?run=a", {"Host": host or " "})
    assert (code, "reward" in text) == (403, False) or code == 400


def test_a_request_that_another_page_makes_is_refused(url: str) -> None:
    assert fetch(f"{url}/api/curves?run=a", {"Origin": "https://evil.com"})[0] == 403
    assert fetch(f"{url}/api/curves?run=a", {"Origin": "null"})[0] == 403
    assert fetch(f"{url}/api/curves?run=a", {"Origin": "http://localhost:8000"})[0] == 200


def test_nothing_is_loaded_from_elsewhere(url: str) -> None:
    files = sorted(path.name for path in PAGE.iterdir())
    assert {"index.html", "main.js", "style.css"} <= set(files)
    for name in ["", *files]:
        code, text, headers = fetch(f"{url}/{name}")
        assert code == 200
        found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"']*", text))
        assert found <= {"http://www.w3.org/2000/svg"}, name
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert not re.search(r"(?:src|href)=\"/|fetch\(\"/|EventSource\(\"/", text), "an absolute address"


def test_only_the_files_of_the_page_are_served(url: str) -> None:
    for path in ("app.py", "..%2fapp.py", "%2e%2e/app.py", "page", "none.js"):
        assert fetch(f"{url}/{path}")[0] == 404


def test_changes_are_streamed(runs: Path, tmp_path: Path) -> None:
    make_run(tmp_path / "live", 1)
    with serving(tmp_path) as address:
        stream = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
        stream.request("GET", "/api/events")
        answer = stream.getresponse()
        assert answer.getheader("content-type", "").startswith("text/event-stream")
        first = event(answer)
        (card,) = first["cards"]
        assert (card["id"], card["state"], card["step"], card["steps"]) == ("live", "incomplete", 1, 8)
        with exclusive_lock(tmp_path / "live", "busy"):
            ActivityLog(tmp_path / "live").begin("rollout", 1)
            phase(tmp_path / "live", 2)
            while not (card["state"] == "running" and card["step"] == 2):
                (card,) = event(answer)["cards"]
        assert card["part"] == "rollout"
        doing = get(address, "activity", run="live")["runs"][0]
        assert [lane["name"] for lane in doing["lanes"]] == ["engines", "rewards", "learners"]
        stream.close()


def event(answer: http.client.HTTPResponse) -> dict[str, Any]:
    while True:
        line = answer.readline().decode()
        assert line, "the stream ended"
        if line.startswith("data:"):
            return dict(json.loads(line.removeprefix("data:")))


def test_a_held_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    assert not is_held(tmp_path / ".lock")
    with exclusive_lock(tmp_path, "busy"):
        assert is_held(tmp_path / ".lock")
    assert not is_held(tmp_path / ".lock")


def test_runs_are_found_below_folders_each_once(runs: Path) -> None:
    (runs / "policy-only").mkdir(exist_ok=True)
    (runs / "policy-only" / "config.json").write_text("{}")
    found = find_folders([runs, runs / "a", runs / "deep"])
    assert [(f.id, f.kind) for f in found] == [("a", "run"), ("deep/b", "run")]
    assert [f.id for f in find_folders([runs / "a"])] == ["a"]


def test_linked_folders_are_followed_and_a_circle_of_links_ends(tmp_path: Path) -> None:
    make_run(tmp_path / "disk" / "far", 1)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "near").symlink_to(tmp_path / "disk" / "far")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs")
    assert [f.id for f in find_folders([tmp_path / "runs"])] == ["near"]


def test_a_folder_that_is_missing_has_a_hint(runs: Path) -> None:
    with pytest.raises(ConfigError, match=r"deap is no folder.*deep"):
        check_roots([runs / "deap"])


def test_a_port_that_is_taken_is_an_error_when_it_was_asked_for(runs: Path) -> None:
    with listen(None) as taken:
        number = taken.getsockname()[1]
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(ConfigError, match=f"--port {number} is not to be had"):
            serve([runs], number)


def test_numbers_that_json_lacks_are_null() -> None:
    assert finite({"a": [1.0, float("nan"), float("inf")], "b": (None, "x")}) == {
        "a": [1.0, None, None],
        "b": [None, "x"],
    }


def test_the_end_of_a_log_is_shown_as_it_is(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", 1)
    (run / LOG_FILE).write_bytes(b"x" * 40_000 + b"\n<b>phase 1</b> \xff\nlast\n")
    with serving(tmp_path) as address:
        assert get(address, "about", run="r")["log"] == "<b>phase 1</b> \ufffd\nlast"


def test_ctrl_c_ends_it_without_a_word_though_a_page_is_open(tmp_path: Path) -> None:
    make_run(tmp_path / "r", 1)
    command = [sys.executable, "-m", "grpo.cli", "view", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        address = re.search(r"http://localhost:(\d+)/", server.stdout.readline())
        assert address is not None
        server.stdout.readline()  # how to forward the port
        stream = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=60)
        stream.request("GET", "/api/events")
        assert event(stream.getresponse())["order"] == ["r"]
        server.send_signal(signal.SIGINT)
        rest, _ = server.communicate(timeout=60)
        stream.close()
    assert (server.returncode, rest) == (0, "")
