"""Programs on a pool of sandbox hosts: a stub host runs them in the local sandbox, others misbehave."""

import ast
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rewards.code.bundle import bundle
from rewards.code.reward import Code
from rewards.errors import RewardLoadError
from rewards.hosts.pool import check_reward
from rewards.rows import RewardRow
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.remote import RemoteSandbox
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.types import Job, Limits
from tests.rewards.sandbox.run_code_stub import FINISHED, MISBEHAVIOURS, Answer, StubHost, honest

DEAD = "http://127.0.0.1:1"
QUICK = Limits(wall_s=5.0)
SMALL = Limits(wall_s=5.0, output_bytes=1 << 16)
Start = Callable[[Callable[[dict[str, Any]], Answer]], StubHost]


@pytest.fixture(scope="module")
def local() -> Iterator[Sandbox]:
    try:
        sandbox = Sandbox.open()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def host(local: Sandbox) -> Iterator[StubHost]:
    stub = StubHost(honest(local))
    yield stub
    stub.close()


@pytest.fixture
def start() -> Iterator[Start]:
    stubs: list[StubHost] = []

    def begin(answer: Callable[[dict[str, Any]], Answer]) -> StubHost:
        stubs.append(StubHost(answer))
        return stubs[-1]

    yield begin
    for stub in stubs:
        stub.close()


def _ok(_: dict[str, Any]) -> Answer:
    return 200, json.dumps({"status": "Success", "message": "", "run_result": FINISHED}).encode()


PROGRAMS = {
    "output": ("python", "print(input()[::-1], 'é')", "abc"),
    "exit code": ("python", "import sys; print(1); sys.exit(3)", ""),
    "signal": ("python", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", ""),
    "exception": ("python", "print('before'); raise ValueError('x')", ""),
    "bash": ("bash", "read x; echo $((x * 2))", "21"),
    "compile error": ("cpp", "int main() { return x; }", ""),
    "unknown language": ("cobol", "STOP RUN.", ""),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_host_gives_the_outcome_of_the_local_sandbox(name: str, local: Sandbox, host: StubHost) -> None:
    language, source, stdin = PROGRAMS[name]
    job = Job(language, source.encode(), (stdin.encode(),), QUICK)
    (here,) = local.run_job(job)
    if here.verdict == "unsupported_language" and name != "unknown language":
        pytest.skip(here.reason)
    (there,) = RemoteSandbox([host.url]).run_job(job)
    assert (there.verdict, there.exit_code, there.stdout) == (here.verdict, here.exit_code, here.stdout)
    assert there.tier == "remote"


def test_limits_hold_on_a_host(host: StubHost) -> None:
    sandbox = RemoteSandbox([host.url])
    endless = Job("python", b"while True: pass", (b"", b""), Limits(wall_s=0.3), total_wall_s=0.3)
    first, second = sandbox.run_job(endless)
    assert (first.verdict, second.verdict) == ("time_limit", "time_limit")
    assert "no time left of 0.3 s" in second.reason
    (flood,) = sandbox.run_job(Job("python", b"print('x' * 70000)", limits=SMALL))
    assert flood.verdict == "output_limit"
    assert len(flood.stdout) == SMALL.output_bytes


@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_a_host_that_misbehaves_is_no_verdict_on_the_program(name: str, start: Start) -> None:
    stubs = [start(MISBEHAVIOURS[name]) for _ in range(2)]
    (found,) = RemoteSandbox([stub.url for stub in stubs]).run_job(Job("python", b"", limits=SMALL))
    assert found.verdict == "sandbox_error"
    for stub in stubs:
        assert stub.url in found.reason  # both were asked, and the reason names both
        assert len(stub.requests) == 1


def test_a_host_that_does_not_answer_is_given_up(start: Start) -> None:
    release = threading.Event()

    def hang(_: dict[str, Any]) -> Answer:
        release.wait()
        return 200, b""

    slow, good = start(hang), start(_ok)
    sandbox = RemoteSandbox([slow.url, good.url])
    job = Job("python", b"", limits=Limits(wall_s=0.2), wait_s=1.0)
    assert [sandbox.run_job(job)[0].verdict for _ in range(3)] == ["ok"] * 3
    (found,) = RemoteSandbox([slow.url]).run_job(job)
    release.set()
    assert found.verdict == "sandbox_error"
    assert "no answer within" in found.reason


@pytest.mark.parametrize("bad", ["dead", *MISBEHAVIOURS])
def test_one_of_two_hosts_is_enough_and_the_bad_one_rests(bad: str, start: Start) -> None:
    good = start(_ok)
    broken = None if bad == "dead" else start(MISBEHAVIOURS[bad])
    sandbox = RemoteSandbox([broken.url if broken else DEAD, good.url])
    outcomes = [sandbox.run_job(Job("python", b"", limits=SMALL))[0] for _ in range(6)]
    assert [(o.verdict, o.stdout) for o in outcomes] == [("ok", b"42\n")] * 6
    assert len(good.requests) == 6
    if broken:
        assert len(broken.requests) <= 1


def test_a_programs_own_failure_is_asked_of_one_host(local: Sandbox, start: Start) -> None:
    stubs = [start(honest(local)) for _ in range(2)]
    (found,) = RemoteSandbox([stub.url for stub in stubs]).run_job(Job("python", b"1 / 0", limits=QUICK))
    assert found.verdict == "runtime_error"
    assert sum(len(stub.requests) for stub in stubs) == 1


def test_jobs_take_turns_and_go_to_the_host_with_the_fewest(start: Start) -> None:
    stubs = [start(_ok) for _ in range(3)]
    sandbox = RemoteSandbox([stub.url for stub in stubs])
    for _ in range(9):
        sandbox.run_job(Job("python", b""))
    assert [len(stub.requests) for stub in stubs] == [3, 3, 3]

    all_here = threading.Barrier(2, timeout=30)  # broken if both jobs go to one of the hosts

    def one_at_a_time() -> Callable[[dict[str, Any]], Answer]:
        alone = threading.Lock()

        def answer(request: dict[str, Any]) -> Answer:
            with alone:
                all_here.wait()
            return _ok(request)

        return answer

    spread = RemoteSandbox([start(one_at_a_time()).url for _ in range(2)])
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: spread.run_job(Job("python", b""))[0].verdict, range(2)))
    assert found == ["ok", "ok"]


def test_text_that_the_api_cannot_carry(host: StubHost) -> None:
    sandbox = RemoteSandbox([host.url])
    assert sandbox.run_job(Job("python", b"print('\xff')"))[0].verdict == "runtime_error"
    assert sandbox.run_job(Job("python", b"print(1)", (b"\xff",)))[0].verdict == "sandbox_error"


def test_a_closed_sandbox_runs_nothing(host: StubHost) -> None:
    with RemoteSandbox.open([host.url]) as sandbox:
        assert sandbox.run_job(Job("python", b"print(1)", limits=QUICK))[0].stdout == b"1\n"
    assert sandbox.run_job(Job("python", b"print(1)", limits=QUICK))[0].verdict == "sandbox_error"


def test_opening_needs_one_host_that_runs_a_program(start: Start) -> None:
    wrong = start(MISBEHAVIOURS["status 500"])
    with pytest.raises(SandboxUnavailable, match="HTTP status 500") as error:
        RemoteSandbox.open([wrong.url, DEAD])
    assert DEAD in str(error.value)
    RemoteSandbox.open([wrong.url, start(_ok).url, DEAD]).close()


def test_a_recipe_whose_hosts_are_down_stops_before_anything_starts() -> None:
    with pytest.raises(RewardLoadError, match="no sandbox host can be used"):
        check_reward("code", {"sandbox": {"urls": [DEAD]}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"urls": ["ftp://host"]}, "expected http://"),
        ({"urls": ["file:///etc/passwd"]}, "expected http://"),
        ({"urls": ["host:8080"]}, "expected http://"),
        ({"urls": ["http://"]}, "expected http://"),
        ({"urls": ["http://host:x"]}, "Port"),
        ({"urls": ["http://me:secret@host"]}, "no user"),
        ({"urls": ["http://host/?a=1"]}, "no user, query"),
        ({"urls": ["http://host", "http://host/"]}, "twice"),
        ({"urls": ["http://host"], "tier": "landlock"}, "tier: of no effect"),
        ({"url": "http://host"}, "url"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SandboxSettings(**settings)


def test_the_harness_is_python_3_10() -> None:
    folder = Path(__file__).resolve().parents[3] / "rewards" / "code"
    for name in ("data", "driver", "checker"):
        ast.parse((folder / f"{name}.py").read_text(), feature_version=(3, 10))
    bundle("checker", False).decode("ascii")


DOUBLE = [{"stdin": "2\n", "stdout": "4\n"}, {"stdin": "-3\n", "stdout": "-6\n"}]
ECHO = [{"args": ["é\udc80"], "expected": "é\udc80"}, {"args": ["a"], "expected": "a"}]
ORDER = "def check(f):\n    assert f([3, 1, 2]) == [1, 2, 3]\n    assert f([]) == []"
REWARDED = [
    ("print(int(input()) * 2)", {"tests": DOUBLE}, 1.0),
    ("print(abs(int(input())) * 2)", {"tests": DOUBLE}, 0.0),
    ("while True: pass", {"tests": DOUBLE}, 0.0),
    ("import os; os._exit(0)", {"tests": DOUBLE}, 0.0),
    ("def echo(x): return x", {"tests": ECHO, "entry_point": "echo"}, 1.0),
    ("def echo(x): return x.encode(errors='surrogatepass')", {"tests": ECHO, "entry_point": "echo"}, 0.0),
    ("def order(xs): return sorted(xs)", {"test": ORDER, "entry_point": "order"}, 1.0),
    ("def order(xs): return xs", {"test": ORDER, "entry_point": "order"}, 0.0),
    ("print('passed')\nimport os\nos.write(1, b't1:s6:passed')\nos._exit(0)",
     {"test": ORDER, "entry_point": "order"}, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("program", "columns", "value"), REWARDED)
def test_the_reward_is_the_same_on_a_host_as_here(
    program: str, columns: dict[str, Any], value: float, host: StubHost
) -> None:
    row = RewardRow(f"```python\n{program}\n```", columns=columns)
    bounds = {"test_s": 1.0, "total_s": 2.0}
    here = Code(**bounds)(row)
    there = Code(**bounds, sandbox={"urls": [host.url]})(row)
    assert (here.total, here.verdict) == (value, "ok")
    assert (there.total, there.verdict) == (value, "ok")


def test_the_reward_abstains_when_the_hosts_fail(start: Start) -> None:
    is_up = [True]
    stub = start(lambda request: _ok(request) if is_up[0] else (503, b"draining"))
    reward = Code(sandbox={"urls": [stub.url]})
    is_up[0] = False
    found = reward(RewardRow("```python\nprint(4)\n```", columns={"tests": DOUBLE}))
    assert (found.total, found.verdict) == (None, "abstain")
    assert "HTTP status 503" in found.reason


def test_expected_outputs_never_leave(start: Start) -> None:
    stub = start(_ok)
    tests = [{"stdin": "2\n", "stdout": "SECRET-OUTPUT\n"}]
    calls = [{"args": [2], "expected": "SECRET-OUTPUT"}]
    reward = Code(sandbox={"urls": [stub.url]})
    reward(RewardRow("```python\nprint(4)\n```", columns={"tests": tests}))
    reward(RewardRow("```python\ndef f(x): pass\n```", columns={"tests": calls, "entry_point": "f"}))
    assert len(stub.requests) >= 3
    assert not any("SECRET" in str(request) for request in stub.requests)
