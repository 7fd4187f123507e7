"""The hostile programs: the sandbox holds them, and the suite would notice if it did not.

`grpo sandbox doctor` runs all of them; here, those that need no compiler, and on the tier "unisolated" those that harm
nothing but the suite's own canaries.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.escapes import suite
from rewards.sandbox.escapes.canaries import Canaries
from rewards.sandbox.escapes.case import OK, Case, Category
from rewards.sandbox.escapes.suite import CATEGORIES, Arena, Report, judge, run_suite
from rewards.sandbox.languages import MissingToolchain, find_toolchain
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings, TierName
from rewards.sandbox.types import LANGUAGES, Limits, Outcome

CASES = [(category, case) for category in CATEGORIES for case in category.cases]
FINE = Outcome("ok", "", 0, b"tried\n", b"", 0.1, 0.1, 1, "namespaces")
SLOW_TO_START = {"java", "cpp", "rust", "go"}


def suite_on(tier: TierName, names: list[str] | None = None) -> Report:
    try:
        return run_suite(SandboxSettings(tier=tier), names=names)
    except SandboxUnavailable as error:
        pytest.skip(f"no tier {tier} here: {error}")


def quick_names() -> list[str]:
    """Without those that burn a limit's time and a compiler's: the full suite is the doctor's, and `slow`."""
    left_out = {"compilers", "lingering", "memory"}
    return [
        case.name
        for category, case in CASES
        if category.name not in left_out and case.language not in SLOW_TO_START
    ]


def problems_of(report: Report) -> dict[str, tuple[str, ...]]:
    return {result.name: result.problems for result in report.failed}


def test_there_are_enough_and_each_has_its_own_name() -> None:
    names = Counter(case.name for _, case in CASES)
    assert max(names.values()) == 1
    assert len(names) >= 60
    languages = Counter(case.language for _, case in CASES)
    assert languages.keys() == set(LANGUAGES)
    assert sum(count >= 3 for count in languages.values()) >= 5


def test_every_token_is_filled_in() -> None:
    with Canaries() as canaries:
        tokens = canaries.tokens()
    for _, case in CASES:
        text = case.source
        for token in tokens:
            text = text.replace(f"@{token}@", "")
        assert not [
            word for word in ("@SECRET", "@OPEN", "@PID@", "@NONCE@", "@TCP", "@UDP@") if word in text
        ], case.name


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "/usr/lib", "/"])
def test_a_folder_that_the_sandbox_has_itself_is_no_escape(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert problems_of(suite_on("namespaces", ["read the system"])) == {}


def test_the_current_folder_is_attacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Canaries() as canaries:
        assert canaries.tokens()["CWD"] == str(tmp_path)


def test_namespaces_hold() -> None:
    report = suite_on("namespaces", quick_names())
    assert problems_of(report) == {}
    assert report.count("gap") == 0
    assert report.count("passed") >= 50


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_all_hold(tier: TierName) -> None:
    report = suite_on(tier)
    assert problems_of(report) == {}
    assert (report.count("gap") == 0) == (tier == "namespaces")


def test_without_isolation_the_suite_sees_the_escapes() -> None:
    names = [
        "read a secret by every path",
        "change a file that all may change",
        "see that a file is there",
        "see that a process is there",
        "tcp",
        "udp and names",
        "unix sockets, by path and abstract",
        "every family",
        "shared memory and queues of the host",
        "c: include secrets",
        "shell: read, write, plant",
    ]
    if os.getuid():  # root's programs run as another user than root's processes
        names += ["kill a process of the host", "environments"]
    for language in ("c", "bash"):
        try:
            find_toolchain(language)
        except MissingToolchain:
            names = [
                name
                for name in names
                if name not in {case.name for _, case in CASES if case.language == language}
            ]
    problems = problems_of(suite_on("unisolated", names))
    assert problems.keys() == set(names)
    assert "a secret came out: file" in problems["read a secret by every path"]
    assert "the host's TCP server was connected to" in problems["tcp"]
    assert "the host's UDP server was sent something" in problems["udp and names"]
    assert any("the host's file" in problem for problem in problems["change a file that all may change"])


def test_without_isolation_nothing_dangerous_is_run() -> None:
    dangerous = [case.name for _, case in CASES if case.danger != "none"]
    report = suite_on("unisolated", dangerous)
    assert len(report.results) == len(dangerous) + 1
    assert {result.status for result in report.results[:-1]} == {"skipped"}


# -- the canaries ------------------------------------------------------------------------------------------------------


@pytest.fixture
def canaries() -> Iterator[Canaries]:
    with Canaries() as made:
        yield made


def connect(family: int, address: object) -> None:
    with socket.socket(family) as channel:
        channel.connect(address)  # type: ignore[arg-type]


def send(family: int, address: object) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"x", address)  # type: ignore[arg-type]


def overwrite_segment(tokens: dict[str, str]) -> None:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    at = libc.shmat(int(tokens["SHM"]), None, 0)
    ctypes.memmove(at, b"evil", 4)
    libc.shmdt(ctypes.c_void_p(at))


HARM: dict[str, tuple[Callable[[dict[str, str]], object], str]] = {
    "content": (lambda t: os.truncate(t["OPEN_FILE"], 0), "file open was changed"),
    "mode": (lambda t: Path(t["SECRET_FILE"]).chmod(0o600), "was changed"),
    "time": (lambda t: os.utime(t["OPEN_FILE"], (1, 1)), "was changed"),
    "plant": (lambda t: Path(t["OPEN_FOLDER"], "new").symlink_to("/etc/shadow"), "folder/new was changed"),
    "remove": (lambda t: Path(t["OPEN_FOLDER"], "kept").unlink(), "folder/kept was changed"),
    "link": (lambda t: os.link(t["OPEN_FILE"], t["OPEN_FOLDER"] + "/hard"), "folder/hard was changed"),
    "tcp": (lambda t: connect(socket.AF_INET, ("127.0.0.1", int(t["TCP"]))), "TCP server was connected"),
    "udp": (lambda t: send(socket.AF_INET, ("127.0.0.1", int(t["UDP"]))), "UDP server was sent"),
    "unix": (lambda t: connect(socket.AF_UNIX, t["UNIX"]), "unix server was connected"),
    "abstract": (
        lambda t: connect(socket.AF_UNIX, "\0" + t["ABSTRACT"]),
        "abstract unix server was connected",
    ),
    "datagram": (lambda t: send(socket.AF_UNIX, "\0" + t["ABSTRACT"] + ".dgram"), "datagram server was sent"),
    "kill": (lambda t: os.kill(int(t["PID"]), signal.SIGKILL), "process of the host was ended"),
    "stop": (lambda t: os.kill(int(t["PID"]), signal.SIGSTOP), "process of the host was stopped"),
    "priority": (lambda t: os.setpriority(os.PRIO_PROCESS, int(t["PID"]), 19), "the priority of a process"),
    "segment": (overwrite_segment, "System V shared memory was changed"),
    "shm": (lambda t: Path("/dev/shm", t["POSIX_SHM"]).unlink(), "POSIX shared memory was changed"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_canary_tells(canaries: Canaries, harm: str) -> None:
    if harm == "priority" and os.getpriority(os.PRIO_PROCESS, 0) == 19:
        pytest.skip("these tests run at the lowest priority already")
    act, sign = HARM[harm]
    assert canaries.disturbed() == []
    act(canaries.tokens())
    if harm in ("kill", "stop"):
        wait_for(lambda: process_state(int(canaries.tokens()["PID"])) in ("Z", "T"))
    found = canaries.disturbed()
    assert any(sign in problem for problem in found), found
    assert canaries.disturbed() == []  # as it was


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come to pass")


def test_canaries_leave_nothing() -> None:
    with Canaries() as made:
        tokens = made.tokens()
        assert os.environ[tokens["ENV_NAME"]]
    assert tokens["ENV_NAME"] not in os.environ
    for path in (
        tokens["SECRET_FILE"],
        os.path.dirname(tokens["SECRET_FILE"]),
        f"/dev/shm/{tokens['POSIX_SHM']}",
    ):
        assert not os.path.exists(path)
    assert not os.path.exists(f"/proc/{tokens['PID']}")


# -- the judge ---------------------------------------------------------------------------------------------------------

CASE = Case("some attack", "python", "", within_s=5.0)
SECRETS = {"file": b"file-0123"}


@pytest.mark.parametrize(
    ("outcome", "sign"),
    [
        (None, "did not come back"),
        (replace(FINE, verdict="sandbox_error"), "verdict sandbox_error"),
        (replace(FINE, verdict="time_limit"), "verdict time_limit"),
        (replace(FINE, stdout=b"ESCAPED tcp\ntried\n"), "ESCAPED tcp"),
        (replace(FINE, stderr=b"main.c:3: error: #error ESCAPED sees"), "ESCAPED sees"),
        (replace(FINE, stderr=b"x file-0123 x"), "a secret came out: file"),
        (replace(FINE, stdout=b"tried hard\n"), "did not get to the end"),
        (replace(FINE, wall_s=6.0), "it took 6.0 s"),
    ],
)
def test_the_judge_minds(outcome: Outcome | None, sign: str) -> None:
    assert list(judge(CASE, FINE, SECRETS)) == []
    found = list(judge(CASE, outcome, SECRETS))
    assert len(found) == 1
    assert sign in found[0]


def test_the_judge_asks_the_case() -> None:
    case = replace(CASE, check=lambda outcome: "too short" if len(outcome.stdout) < 9 else None)
    assert list(judge(case, FINE, {})) == ["too short"]


# -- around a run ------------------------------------------------------------------------------------------------------


class FakeSandbox:
    """Answers like a sandbox that holds, but for what a test changes."""

    def __init__(self) -> None:
        self.tier = SimpleNamespace(name="namespaces")
        self.next_program = "clean"
        self.hang: threading.Event | None = None

    def run(self, language: str, source: str, stdin: bytes = b"", limits: Limits | None = None) -> Outcome:
        if stdin:
            return replace(FINE, stdout=f"{stdin.decode()} {self.next_program}\n".encode())
        if self.hang:
            self.hang.wait(30)
        return FINE

    def close(self) -> None:
        if self.hang:
            self.hang.set()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSandbox:
    made = FakeSandbox()
    monkeypatch.setattr(Sandbox, "open", lambda *_: made)
    return made


ATTACKS = Category("files", ())


def test_a_fake_that_holds_passes(fake: FakeSandbox, canaries: Canaries) -> None:
    result = Arena(SandboxSettings(), canaries).run(ATTACKS, CASE)
    assert (result.status, result.problems) == ("passed", ())


def test_a_poisoned_next_program_fails(fake: FakeSandbox, canaries: Canaries) -> None:
    fake.next_program = "evil"
    result = Arena(SandboxSettings(), canaries).run(ATTACKS, CASE)
    assert result.status == "failed"
    assert "the next python program" in result.problems[0]


def test_a_listed_gap_is_no_failure(fake: FakeSandbox, canaries: Canaries) -> None:
    arena = Arena(SandboxSettings(), canaries)
    Path(canaries.tokens()["OPEN_FILE"]).write_text("evil")
    assert arena.run(ATTACKS, replace(CASE, gaps=("landlock",))).status == "failed"
    fake.tier.name = "landlock"
    Path(canaries.tokens()["OPEN_FILE"]).write_text("evil")
    assert arena.run(ATTACKS, replace(CASE, gaps=("landlock",))).status == "gap"


def test_a_call_that_does_not_come_back_fails(
    fake: FakeSandbox, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "_GRACE_S", 0.1)
    fake.hang = threading.Event()
    limits = Limits(wall_s=0.1, compile_wall_s=0.1)
    result = Arena(SandboxSettings(), canaries).run(ATTACKS, replace(CASE, limits=limits, verdicts=OK))
    assert result.problems == ("the call did not come back, or raised",)


def test_a_process_that_is_left_fails(
    fake: FakeSandbox, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "_SETTLE_S", 0.1)
    arena = Arena(SandboxSettings(), canaries)
    with subprocess.Popen([canaries.nonce, "60"], executable="/bin/sleep") as left:
        wait_for(lambda: Path(f"/proc/{left.pid}/cmdline").read_bytes().startswith(canaries.nonce.encode()))
        result = arena.run(ATTACKS, CASE)
        left.kill()
    assert result.problems == (f"process {left.pid} of it is left",)
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as launcher:
        arena.launchers[launcher.pid] = set()
        wait_for(lambda: len(suite.below(launcher.pid, suite.processes())) == 1)
        child = suite.below(launcher.pid, suite.processes())[0].pid
        result = arena.run(ATTACKS, CASE)
        os.kill(child, signal.SIGKILL)
    assert result.problems == (f"process {child} of it is left",)


def test_signals_that_got_out_keep_the_wider_ones_from_running(fake: FakeSandbox, canaries: Canaries) -> None:
    arena = Arena(SandboxSettings(), canaries)
    wide = replace(CASE, danger="signals")
    assert arena.run(Category("signals", ()), wide).status == "passed"
    os.kill(int(canaries.tokens()["PID"]), signal.SIGSTOP)
    wait_for(lambda: process_state(int(canaries.tokens()["PID"])) == "T")
    assert arena.run(Category("signals", ()), CASE).status == "failed"
    assert arena.run(Category("signals", ()), wide).status == "skipped"
