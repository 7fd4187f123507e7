"""Every verdict, on every tier of this host, with all its fields; and what merely looks like one."""

from __future__ import annotations

import signal
from typing import get_args

import pytest

from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.types import MIB, Limits, Outcome, Verdict

QUICK = Limits(wall_s=0.4, memory_bytes=96 * MIB, tasks=24, output_bytes=64 * 1024, tmp_bytes=16 * MIB)
ROOMY = Limits(wall_s=30, memory_bytes=96 * MIB, tasks=24, output_bytes=64 * 1024, tmp_bytes=16 * MIB)

PROGRAMS: dict[str, tuple[Verdict, str, Limits]] = {
    "reads and prints": ("ok", "print(input())", ROOMY),
    "raises": ("runtime_error", "raise ValueError('no')", ROOMY),
    "exits with 3": ("runtime_error", "raise SystemExit(3)", ROOMY),
    "exits with a message": ("runtime_error", "raise SystemExit('no')", ROOMY),
    "ends itself": ("runtime_error", "import os; os.abort()", ROOMY),
    "runs out of its stack": ("runtime_error", "f = lambda: f()\nf()", ROOMY),
    "is no Python": ("runtime_error", "def :", ROOMY),
    "sleeps": ("time_limit", "import time; time.sleep(60)", QUICK),
    "burns": ("time_limit", "while True: pass", QUICK),
    "stops": ("time_limit", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", QUICK),
    "ignores signals": (
        "time_limit",
        "import signal, time\n"
        "for n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)\n"
        "while True: time.sleep(1)",
        QUICK,
    ),
    "leaves a child that burns": ("ok", "import os\nif os.fork() == 0:\n    while True: pass", ROOMY),
    "takes memory": ("memory_limit", "x = bytearray(1 << 30)", ROOMY),
    "takes memory in children": (
        "memory_limit",
        "import os, time\nfor _ in range(6):\n    if os.fork() == 0:\n        x = bytearray(30 << 20)\n"
        "        time.sleep(60)\ntime.sleep(60)",
        ROOMY,
    ),
    "prints without end": ("output_limit", "while True: print('x' * 1000)", ROOMY),
    "complains without end": ("output_limit", "import sys\nwhile True: sys.stderr.write('x' * 1000)", ROOMY),
    "prints without end in children": (
        "output_limit",
        "import os\nfor _ in range(4): os.fork()\nwhile True: print('x' * 1000)",
        ROOMY,
    ),
    "forks without end": (
        "process_limit",
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        ROOMY,
    ),
    "starts threads without end": (
        "process_limit",
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()",
        ROOMY,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_gets_its_verdict(any_tier, name):
    verdict, source, limits = PROGRAMS[name]
    outcome = any_tier.run("python", source, b"a line\n", limits)
    assert outcome.verdict == verdict, outcome
    assert (outcome.reason == "") == (verdict == "ok")
    assert outcome.tier == any_tier.tier.name
    assert len(outcome.stdout) <= limits.output_bytes
    assert len(outcome.stderr) <= limits.output_bytes
    assert 0 <= outcome.wall_s < limits.wall_s + 8
    assert outcome.cpu_s > 0
    assert outcome.max_rss_bytes > MIB
    assert (outcome.exit_code == 0) == (verdict == "ok")


@pytest.mark.parametrize(
    ("source", "code", "stderr"),
    [
        ("import sys; sys.exit(137)", 137, b""),
        ("import os; os._exit(152)", 152, b""),
        ("import os; os._exit(124)", 124, b""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL, b""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", 128 + signal.SIGXCPU, b""),
        ("raise MemoryError", 1, b"MemoryError"),
        ("raise TimeoutError('ran longer than 30 s')", 1, b"ran longer than 30 s"),
        ("import sys; sys.exit('held more than 100663296 bytes of memory')", 1, b"held more"),
        ("import os\nos.write(2, b'sandbox_error: launcher died'); os._exit(1)", 1, b"launcher died"),
        ("x = bytearray(1 << 62)", 1, b"MemoryError"),
        ("raise SystemExit(-1)", 255, b""),
    ],
)
def test_imitations_of_a_limit_stay_runtime_errors(any_tier, source, code, stderr):
    outcome = any_tier.run("python", source, limits=ROOMY)
    assert (outcome.verdict, outcome.exit_code) == ("runtime_error", code), outcome
    assert stderr in outcome.stderr


def test_a_program_that_writes_json_of_the_harness_is_not_believed(any_tier):
    source = (
        "import os\n"
        'line = b\'{"status": 0, "flag": null, "error": "gone", "started": true}\\n\'\n'
        "for fd in range(256):\n"
        "    try: os.write(fd, line)\n"
        "    except OSError: pass\n"
        "os._exit(5)"
    )
    outcome = any_tier.run("python", source, limits=ROOMY)
    assert (outcome.verdict, outcome.exit_code) == ("runtime_error", 5)


def test_sleeping_takes_wall_time_and_no_cpu_time(sandbox):
    outcome = sandbox.run("python", "import time; time.sleep(0.3)")
    assert outcome.verdict == "ok"
    assert outcome.wall_s >= 0.3
    assert outcome.cpu_s < 0.25


def test_cpu_time_and_memory_are_those_of_all_processes(sandbox):
    source = (
        "import os, time\n"
        "def burn():\n"
        "    x = bytearray(60 << 20)\n"
        "    while time.process_time() < 0.2: pass\n"
        "children = []\n"
        "for _ in range(2):\n"
        "    pid = os.fork()\n"
        "    if pid == 0: burn(); os._exit(0)\n"
        "    children.append(pid)\n"
        "for pid in children: os.waitpid(pid, 0)"
    )
    outcome = sandbox.run("python", source, limits=Limits(memory_bytes=400 * MIB, wall_s=60))
    assert outcome.verdict == "ok"
    assert outcome.cpu_s >= 0.4
    assert outcome.max_rss_bytes > 60 * MIB


def test_unknown_and_missing_languages_are_verdicts(sandbox, monkeypatch):
    for name in ("ruby", "", "Python", "python ", "c++", "\0", "../python"):
        outcome = sandbox.run(name, "x")
        assert (outcome.verdict, outcome.exit_code) == ("unsupported_language", None)
    from rewards.sandbox import languages

    languages._FINDERS["go"].cache_clear()
    monkeypatch.setattr(languages.shutil, "which", lambda *_, **__: None)
    outcome = sandbox.run("go", "package main")
    languages._FINDERS["go"].cache_clear()
    assert outcome.verdict == "unsupported_language"
    assert "Go" in outcome.reason


def test_a_closed_sandbox_says_that_it_failed():
    sandbox = Sandbox.open()
    sandbox.close()
    outcome = sandbox.run("python", "print(1)")
    assert outcome == Outcome("sandbox_error", outcome.reason, None, b"", b"", 0.0, 0.0, 0, "namespaces")
    assert outcome.reason


def test_every_verdict_is_tested():
    here = {verdict for verdict, _, _ in PROGRAMS.values()} | {"unsupported_language", "sandbox_error"}
    assert here | {"compile_error"} == set(get_args(Verdict))  # compile errors: test_languages


def test_less_isolation_has_to_be_named():
    assert SandboxSettings().tier == "auto"
    with Sandbox.open() as sandbox:
        assert sandbox.tier.name == "namespaces"
