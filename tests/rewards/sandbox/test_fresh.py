"""Nothing of one program reaches the next, nothing of a run stays, nothing of the caller is touched."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rewards.sandbox.types import Limits

LEAVE = """
import os, sys, builtins, json, signal, socket
os.environ["LEFT"] = "x"
for path in ("left", "/tmp/left", "/dev/shm/left", os.path.expanduser("~/left")):
    try: open(path, "w").write("left")
    except OSError: pass
builtins.left = json.left = 1
json.loads = lambda text: "poisoned"
builtins.print = lambda *a: os.write(1, b"poisoned\\n")
sys.path.insert(0, "/tmp"); sys.modules["math"] = sys
os.chmod(".", 0o777)
if os.fork() == 0:
    os.setsid()
    for n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)
    if os.fork() == 0:
        while True: pass
    while True: pass
try:
    s = socket.socket(socket.AF_UNIX); s.bind("\\0left"); s.listen()
except OSError: pass
try:
    import ctypes
    key = ctypes.CDLL(None).shmget(4711, 4096, 0o1666)
except Exception: pass
"""

LOOK = """
import os, builtins, json, math, sys, ctypes, time
found = []
if "LEFT" in os.environ: found.append("env")
for path in ("left", "/tmp/left", "/dev/shm/left", os.path.expanduser("~/left")):
    if os.path.exists(path): found.append(path)
if sorted(os.listdir(".")) != ["main.py"]: found.append(str(os.listdir(".")))
if hasattr(builtins, "left") or hasattr(json, "left") or json.loads("1") != 1: found.append("modules")
if not hasattr(math, "pi"): found.append("math")
if sys.path.count("/tmp") > 1: found.append("path")
if ctypes.CDLL(None).shmget(4711, 4096, 0o666) >= 0: found.append("shared memory")
try:
    mine = [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]
    if mine: found.append(f"processes {mine}")
except PermissionError: pass
try:
    if "@left" in open("/proc/net/unix").read(): found.append("socket")
except PermissionError: pass
print("found", *found)
"""


def _descendants(root=None):
    import psutil

    return {process.pid for process in psutil.Process(root).children(recursive=True)}


def test_nothing_of_a_program_reaches_the_next(isolated_tier):
    for _ in range(2):
        left = isolated_tier.run("python", LEAVE)
        assert left.verdict == "ok", left
        seen = isolated_tier.run("python", LOOK)
        assert seen.stdout == b"found\n", seen


def test_nor_one_that_runs_at_the_same_time(isolated_tier):
    slow = (
        LEAVE.replace('builtins.print = lambda *a: os.write(1, b"poisoned\\n")', "")
        + "\nimport time; time.sleep(1)"
    )
    with ThreadPoolExecutor(4) as pool:
        leaving = [pool.submit(isolated_tier.run, "python", slow) for _ in range(3)]
        time.sleep(0.3)
        seen = [pool.submit(isolated_tier.run, "python", LOOK) for _ in range(3)]
        assert {run.result().stdout for run in seen} == {b"found\n"}
        assert {run.result().verdict for run in leaving} == {"ok"}


def test_orphans_are_gone_when_the_call_returns(any_tier):
    before = _descendants()
    source = (
        "import os, signal, time\n"
        "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0: time.sleep(3600)\n"
        "        os._exit(0)\n"
        "print('done')"
    )
    start = time.monotonic()
    outcome = any_tier.run("python", source, limits=Limits(wall_s=60))
    assert (outcome.verdict, outcome.stdout) == ("ok", b"done\n")
    assert time.monotonic() - start < 30  # they hold stdout: it is not waited for
    give_up = time.monotonic() + 5  # process 1 may just be leaving
    while _descendants() - before and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not _descendants() - before


def test_the_callers_directories_stay_as_they_are(any_tier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    temporary = Path(tempfile.gettempdir())
    before = {path for path in temporary.iterdir() if "grpo-sandbox" in path.name}
    shared = {path for path in Path("/dev/shm").iterdir() if "grpo-sandbox" not in path.name}
    assert any_tier.run("python", "open('main.pyc', 'w'); open('mine', 'w')").verdict == "ok"
    assert any_tier.run("bash", "echo x > y; mkdir z; ln -s /etc/passwd l").verdict == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "mine"
    assert {path for path in temporary.iterdir() if "grpo-sandbox" in path.name} == before
    assert {path for path in Path("/dev/shm").iterdir() if "grpo-sandbox" not in path.name} == shared


def test_the_callers_environment_and_files_are_not_there(isolated_tier, tmp_path, monkeypatch):
    monkeypatch.setenv("API_KEY", "my-secret")
    secret = tmp_path / "secret"
    secret.write_text("my-secret")
    source = (
        "import os\n"
        "def read(path):\n"
        "    try: return open(path, 'rb').read()\n"
        "    except OSError: return b''\n"
        "print(dict(os.environ))\n"
        f"print(read({str(secret)!r}))\n"
        "try: pids = [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "except OSError: pids = ['1', 'self']\n"
        "for pid in pids:\n"
        "    for name in ('environ', 'cmdline', 'mem', 'maps', 'cwd'): print(read(f'/proc/{pid}/{name}'))\n"
        f"print(read('/proc/{os.getpid()}/environ'), read('/etc/shadow'))"
    )
    outcome = isolated_tier.run("python", source)
    assert b"my-secret" not in outcome.stdout
    assert b"root:" not in outcome.stdout
    assert b"PATH" in outcome.stdout


def test_process_1_is_closed_before_the_program_can_look(sandbox):
    """Also on a busy host, where a program may run before its process 1 does again."""
    text = "import os\nprint(os.stat('/proc/1/stack').st_uid == os.getuid(), os.access('/proc/self/stack', os.R_OK))"
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: sandbox.run("python", text), range(100)))
    assert {outcome.stdout for outcome in outcomes} == {b"False True\n"}
