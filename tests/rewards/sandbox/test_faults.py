"""The sandbox's own processes die in the middle, its owner is killed, the host is short of something."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.launcher import Launcher
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.settings import SandboxSettings
from rewards.sandbox.shared import close_shared, shared_sandbox
from rewards.sandbox.types import Limits
from tests.rewards.sandbox.conftest import TIERS

ROOT = Path(__file__).parents[3]
WAITS = "import time; time.sleep(0.6); print('done')"


class Opened:
    """A sandbox whose launchers are known."""

    def __init__(self, name):
        self.launchers = []
        try:
            self.sandbox = Sandbox.open(TIERS[name], on_launcher=self.launchers.append)
        except SandboxUnavailable as error:
            pytest.skip(str(error))


@pytest.fixture(params=["namespaces", "landlock"])
def own(request):
    opened = Opened(request.param)
    yield opened
    opened.sandbox.close()


def _kill_soon(pids):
    """SIGKILL them once a run has begun."""

    def kill():
        time.sleep(0.25)
        for pid in pids():
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_launcher_killed_in_mid_run_costs_a_retry_and_no_verdict(own):
    killer = _kill_soon(lambda: own.launchers[-1:])
    outcome = own.sandbox.run("python", WAITS)
    killer.join()
    assert (outcome.verdict, outcome.stdout) == ("ok", b"done\n"), outcome


def test_so_does_one_killed_between_runs(own):
    os.kill(own.launchers[-1], signal.SIGKILL)
    assert own.sandbox.run("python", "print(1)").stdout == b"1\n"
    assert len(own.launchers) == 2


def test_process_1_of_a_run_killed_costs_a_retry_and_no_verdict(own):
    def keepers():
        children = psutil.Process(own.launchers[-1]).children(recursive=True)
        sleeping = next(p for p in children if not p.children())
        return [sleeping.ppid()]

    killer = _kill_soon(keepers)
    outcome = own.sandbox.run("python", WAITS)
    killer.join()
    assert (outcome.verdict, outcome.stdout) == ("ok", b"done\n"), outcome


def test_a_run_that_does_not_end_when_told_to_has_passed_its_time(own, monkeypatch):
    monkeypatch.setattr("rewards.sandbox.job._OWN_GRACE_S", 0.1)
    monkeypatch.setattr("rewards.sandbox.job._END_TIMEOUT_S", 0.3)

    def suspend():
        time.sleep(0.3)
        children = psutil.Process(own.launchers[-1]).children(recursive=True)
        psutil.Process(next(p for p in children if not p.children()).ppid()).suspend()

    thread = threading.Thread(target=suspend)
    thread.start()
    source = "import time; print('x', flush=True); time.sleep(60)"
    outcome = own.sandbox.run("python", source, limits=Limits(wall_s=1.5))
    thread.join()
    assert (outcome.verdict, outcome.stdout, outcome.exit_code) == ("time_limit", b"x\n", 137), outcome
    assert own.sandbox.run("python", "print(1)").stdout == b"1\n"


def test_a_launcher_that_dies_every_time_is_the_sandboxs_fault():
    own = Opened("namespaces")
    stop = threading.Event()

    def kill():
        while not stop.wait(0.02):
            for pid in own.launchers:
                try:
                    if psutil.Process(pid).ppid() == os.getpid():
                        os.kill(pid, signal.SIGKILL)
                except psutil.Error:
                    pass

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = own.sandbox.run(
        "python", "import time; time.sleep(60); print('done')", limits=Limits(wall_s=90)
    )
    stop.set()
    killer.join()
    assert outcome.verdict == "sandbox_error"
    assert (outcome.exit_code, outcome.stdout) == (None, b"")
    assert own.sandbox.run("python", "print(1)").stdout == b"1\n"
    own.sandbox.close()


def test_a_stopped_launcher_is_replaced(own, monkeypatch):
    monkeypatch.setattr("rewards.sandbox.launcher._ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr("rewards.sandbox.launcher._LEAVE_TIMEOUT_S", 0.5)
    for process in [psutil.Process(own.launchers[0]), *psutil.Process(own.launchers[0]).children()]:
        with contextlib.suppress(psutil.NoSuchProcess):  # the first program's process 1, just leaving
            process.suspend()
    assert own.sandbox.run("python", "print(1)").stdout == b"1\n"


@pytest.mark.parametrize("name", ["namespaces", "namespaces, no cgroup", "landlock", "unisolated"])
def test_when_the_owner_is_killed_nothing_is_left(name, opened, tmp_path):
    opened.get(name)  # or skip
    source = textwrap.dedent(
        f"""
        import json, os, sys, threading
        from rewards.sandbox.sandbox import Sandbox
        from rewards.sandbox.settings import SandboxSettings
        pids = []
        sandbox = Sandbox.open(SandboxSettings(**json.loads({TIERS[name].model_dump_json()!r})), pids.append)
        program = "import os, time\\nfor _ in '12':\\n  os.fork() or os.setsid()\\ntime.sleep(999)"
        for _ in range(2):
            threading.Thread(target=sandbox.run, args=("python", program)).start()
        threading.Event().wait(0.2)
        names = [name for _, name in sandbox._groups.parent_fds] if sandbox._groups else []
        names += [sandbox._base[0].name] if sandbox._base else []
        print(json.dumps([pids[0], names]), flush=True)
        threading.Event().wait()
        """
    )
    owner = subprocess.Popen([sys.executable, "-c", source], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        pid, names = json.loads(owner.stdout.readline())
        launcher = psutil.Process(pid)
        assert bool(_anywhere(names)) == bool(names)
        give_up = time.monotonic() + 20
        while (
            len(family := [launcher, *launcher.children(recursive=True)]) < 2 * 4
            and time.monotonic() < give_up
        ):
            time.sleep(0.05)
        assert len(family) >= 2 * 4
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    give_up = time.monotonic() + 10
    while _anywhere(names) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not _anywhere(names)


def _anywhere(names):
    """Paths of these names among control groups and work directories."""
    mounts = [
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup" in line
    ]
    found = []
    for parent in ("/dev/shm", tempfile.gettempdir(), *mounts):
        for folder, inside, _ in os.walk(parent):
            found += [os.path.join(folder, name) for name in inside if name in names]
            inside[:] = [name for name in inside if parent in mounts and not name.startswith("grpo-sandbox-")]
    return found


def test_a_fork_of_the_owner_has_a_sandbox_of_its_own(own):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, own.sandbox.run("python", "print(2)").stdout)
            own.sandbox.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 9) == b"2\n"
    os.close(read)
    os.close(write)
    assert own.sandbox.run("python", "print(1)").stdout == b"1\n"
    assert len(own.launchers) == 1


def test_many_threads_share_one_sandbox(own):
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda n: own.sandbox.run("python", f"print({n})"), range(40)))
    assert [run.stdout for run in runs] == [b"%d\n" % n for n in range(40)]


def test_closing_ends_runs_that_are_going_on(own):
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(own.sandbox.run, "python", "import time; time.sleep(60)", b"", Limits(wall_s=90))
        time.sleep(0.3)
        start = time.monotonic()
        own.sandbox.close()
        assert run.result(timeout=30).verdict == "sandbox_error"
        assert time.monotonic() - start < 20


def test_without_a_zygote_every_run_starts_a_launcher():
    started = []
    with Sandbox.open(SandboxSettings(zygote=False), on_launcher=started.append) as sandbox:
        assert sandbox.run("python", "print(1)").stdout == b"1\n"
        assert sandbox.run("python", "print(1)").stdout == b"1\n"
        assert len(started) == 3
        assert not psutil.Process().children() or not {p.pid for p in psutil.Process().children()} & set(
            started
        )


def test_a_host_that_refuses_is_an_error_that_names_the_mend(monkeypatch):
    def refuse(*_):
        raise SandboxUnavailable("unshare: Operation not permitted")

    monkeypatch.setattr(Launcher, "__init__", refuse)
    with pytest.raises(SandboxUnavailable, match=r'unshare: Operation not permitted.*tier = "landlock"'):
        Sandbox.open()


def test_control_groups_that_do_not_work_are_done_without(monkeypatch):
    from rewards.sandbox.cgroups import Groups

    def fail(*_):
        raise OSError("read-only")

    monkeypatch.setattr(Groups, "acquire", fail)
    with Sandbox.open() as sandbox:
        assert not sandbox.tier.cgroup
        assert sandbox.run("python", "print(1)").stdout == b"1\n"


def test_one_shared_sandbox_per_process_and_settings():
    first = shared_sandbox()
    assert shared_sandbox(SandboxSettings()) is first
    assert shared_sandbox(SandboxSettings(cgroups=False)) is not first
    close_shared()
    assert first.run("python", "print(1)").verdict == "sandbox_error"
    assert shared_sandbox().run("python", "print(1)").stdout == b"1\n"
    close_shared()


def _interpreter_of_everybody():
    """A Python of this version that an ordinary user may run; the project's packages come by PYTHONPATH."""
    for path in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        check = [path, "-c", "import sys; print(sys.version_info[:2])"]
        try:
            done = subprocess.run(
                check, user=65534, group=65534, extra_groups=[], capture_output=True, text=True
            )
        except OSError:
            continue
        if done.stdout.strip() == str(tuple(sys.version_info[:2])):
            return path
    pytest.skip("no Python here that another user may run")


def _verdicts(tier, ways):
    """Verdicts of a few programs in a process started by the command `ways`, and what the last one saw."""
    source = textwrap.dedent(
        f"""
        import json
        from rewards.sandbox.errors import SandboxUnavailable
        from rewards.sandbox.sandbox import Sandbox
        from rewards.sandbox.settings import SandboxSettings
        from rewards.sandbox.types import Limits
        limits = Limits(wall_s=2, memory_bytes=96 << 20, tasks=24)
        programs = {{
            "ok": "import os; assert os.getuid() > 0 or {tier!r} == 'landlock'",
            "runtime_error": "raise ValueError",
            "time_limit": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
            "memory_limit": "x = bytearray(1 << 30)",
            "output_limit": "while True: print('x' * 999)",
            "process_limit": "import os\\nwhile True:\\n  try: os.fork()\\n  except OSError: pass",
        }}
        try:
            with Sandbox.open(SandboxSettings(tier={tier!r})) as sandbox:
                runs = {{name: sandbox.run("python", program, b"", limits) for name, program in programs.items()}}
                left = sandbox.run("python", "import os; print(os.listdir('.'))")
                print(json.dumps([{{name: run.verdict for name, run in runs.items()}}, left.stdout.decode()]))
        except SandboxUnavailable as error:
            print(json.dumps(str(error)))
        """
    )
    path = os.pathsep.join([str(ROOT), *(p for p in sys.path if p.endswith("site-packages"))])
    done = subprocess.run(
        [*ways, _interpreter_of_everybody(), "-s", "-c", source],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if isinstance(answer, str):
        pytest.skip(f"no such tier here: {answer}")
    return answer


NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
STARTS = {
    "ordinary user": NOBODY,
    "root of a user namespace alone": (*NOBODY, "unshare", "-Ur"),
    "root without CAP_SYS_ADMIN": ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
}


@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user"
)
@pytest.mark.parametrize(
    "start",
    [name if name == "ordinary user" else pytest.param(name, marks=pytest.mark.slow) for name in STARTS],
)
@pytest.mark.parametrize("tier", ["namespaces", "landlock"])
def test_whoever_starts_it_gets_the_same_verdicts(tier, start):
    verdicts, seen = _verdicts(tier, STARTS[start])
    assert verdicts == {name: name for name in verdicts}
    assert seen == "['main.py']\n"


def test_an_owner_with_very_many_open_files(own):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip("so many files may not be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1500)]
    try:
        for n in range(3):
            assert own.sandbox.run("python", f"print({n})").stdout == b"%d\n" % n
        with Sandbox.open() as late:
            assert late.run("python", "print(1)").stdout == b"1\n"
            assert late.run("python", "print(1)").stdout == b"1\n"
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
