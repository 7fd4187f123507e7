"""Misbehaving plug-ins in real host processes. Deadlines are short here; what counts is which rows keep their
verdicts."""

import os
import signal
import textwrap
from pathlib import Path

import psutil
import pytest

from rewards.errors import RewardLoadError
from rewards.hosts.pool import HostPool, HostSpec, check_reward
from rewards.hosts.processes import TAG_VARIABLE, is_running
from rewards.rows import RewardRow

PLUGIN = textwrap.dedent(
    """
    import os, signal, subprocess, sys, threading, time

    def verl(solution_str, ground_truth, extra_info=None):
        print("noise" * 1000)
        sys.stderr.write('{"token": "x", "row": 0, "score": [1, "ok", "", 0]}\\n')
        word, _, rest = solution_str.partition(":")
        if word == "hang":
            while True: pass
        if word == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        if word == "exit": os._exit(0)
        if word == "segv": os.kill(os.getpid(), signal.SIGSEGV)
        if word == "raise": raise RuntimeError("boom")
        if word == "nan": return float("nan")
        if word == "none": return None
        if word == "child": note(rest, subprocess.Popen(["sleep", "3600"]).pid)
        if word == "session": note(rest, subprocess.Popen(["sleep", "3600"], start_new_session=True).pid)
        if word == "orphan":
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    note(rest, os.getpid())
                    time.sleep(3600)
                os._exit(0)
            os.wait()
            while not os.path.exists(rest): time.sleep(0.001)
        if word == "orphan_exit":
            note(rest, subprocess.Popen(["sleep", "3600"], start_new_session=True).pid)
            os._exit(1)
        if word == "orphan_hang":
            note(rest, subprocess.Popen(["sleep", "3600"], start_new_session=True).pid)
            while True: pass
        if word == "thread":
            threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        if word == "closes":
            os.closerange(3, 256)
        if word == "pid": return os.getpid()
        if word == "forge":
            for fd in range(3, 64):
                try: os.write(fd, b'{"token": "guess", "row": 0, "score": [1, "ok", "", 0]}\\n')
                except OSError: pass
        if word == "mutate":
            extra_info["list"].append(1)
            return len(extra_info["list"])
        return 1

    def note(path, pid):
        with open(path + ".tmp", "w") as f: f.write(str(pid))
        os.rename(path + ".tmp", path)

    def trl(completions, **kwargs):
        if "hang" in completions: time.sleep(3600)
        if "exit" in completions: os._exit(7)
        if "short" in completions: return [1.0]
        if "nan" in completions: return [float("nan") if c == "nan" else 1 for c in completions]
        if "pid" in completions: return [os.getpid()] * len(completions)
        return [len(completions)] * len(completions)

    def forger(row):
        import gc
        from rewards.hosts.host import Results
        for thing in gc.get_objects():
            if isinstance(thing, Results):
                os.write(thing._fd, b'{"token": "guess", "row": 0, "score": [1, "ok", "", 0]}\\n')
        return 0
    """
)


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    return str(file)


@pytest.fixture
def make_pool(plugin):
    pools = []

    def make(function="verl", workers=1, timeout_s=0.5, **more):
        pool = HostPool(HostSpec(f"{plugin}:{function}", {}, timeout_s, **more), workers)
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        pool.close()
    assert not _hosts(), "a reward process is left"


def _hosts():
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if TAG_VARIABLE in process.environ() and is_running(process.pid):
                found.append(process)
        except psutil.Error:
            pass
    return found


def _rows(*completions):
    return [
        RewardRow(c, answer="x", columns={"extra_info": {"list": []}}, group_index=i)
        for i, c in enumerate(completions)
    ]


def _verdicts(scores):
    return [score.verdict for score in scores]


@pytest.mark.parametrize(
    ("bad", "verdict", "reason"),
    [
        ("hang", "timeout", "no verdict after 0.5 s"),
        ("deaf", "timeout", "no verdict after 0.5 s"),
        ("exit", "error", "exit code 0"),
        ("segv", "error", "SIGSEGV"),
        ("raise", "error", "RuntimeError: boom"),
        ("nan", "error", "returned nan"),
        ("none", "abstain", "None"),
    ],
)
def test_bad_row_costs_only_itself(make_pool, bad, verdict, reason):
    scores = make_pool().score(_rows("a", bad, "b", bad, "c"))
    assert _verdicts(scores) == ["ok", verdict, "ok", verdict, "ok"]
    assert reason in scores[1].reason
    assert [s.total for s in scores] == [1.0, None, 1.0, None, 1.0]


@pytest.mark.parametrize("word", ["child", "session", "orphan", "orphan_exit", "orphan_hang"])
def test_processes_left_behind_are_ended(make_pool, tmp_path, word):
    note = tmp_path / "pid"
    scores = make_pool().score(_rows(f"{word}:{note}", "a"))
    assert scores[1].total == 1.0
    pid = int(Path(note).read_text())
    assert not is_running(pid)


def test_threads_left_behind_end_with_their_process(make_pool):
    pool = make_pool()
    first = pool.score(_rows("pid"))[0].total
    assert pool.score(_rows("pid"))[0].total == first  # a clean call keeps its process
    assert pool.score(_rows("thread"))[0].total == 1.0
    assert pool.score(_rows("pid"))[0].total != first
    assert not is_running(int(first))


def test_noise_and_forged_lines_are_not_results(make_pool):
    assert [s.total for s in make_pool().score(_rows("a", "forge", "b"))] == [1.0, 1.0, 1.0]


def test_line_on_the_result_channel_without_the_token_is_an_error(make_pool):
    scores = make_pool("forger").score(_rows("a"))
    assert _verdicts(scores) == ["error"]
    assert "token" in scores[0].reason


def test_closing_descriptors_does_not_cut_the_channel(make_pool):
    assert [s.verdict for s in make_pool().score(_rows("closes", "a"))] == ["ok", "ok"]


def test_inputs_are_copies(make_pool):
    shared = {"extra_info": {"list": []}}
    rows = [RewardRow("mutate", answer="x", columns=shared) for _ in range(3)]
    assert [s.total for s in make_pool().score(rows)] == [1.0, 1.0, 1.0]
    assert shared == {"extra_info": {"list": []}}


def test_dead_host_in_every_row_gives_up_with_a_reason(make_pool):
    scores = make_pool().score(_rows(*["exit"] * 12))
    assert _verdicts(scores) == ["error"] * 12
    assert "not tried" in scores[-1].reason


def test_order_is_kept_over_many_workers(make_pool):
    pool = make_pool(workers=3)
    scores = pool.score(_rows(*["none" if i % 3 == 0 else "a" for i in range(200)]))
    assert _verdicts(scores) == ["abstain" if i % 3 == 0 else "ok" for i in range(200)]


def test_killed_from_outside_between_calls(make_pool):
    pool = make_pool()
    pid = int(pool.score(_rows("pid"))[0].total)
    os.kill(pid, signal.SIGKILL)
    scores = pool.score(_rows("a", "b"))
    assert scores[1].total == 1.0


def test_list_wise_call_sees_all_rows_and_loses_them_together(make_pool):
    pool = make_pool("trl", workers=2)
    assert [s.total for s in pool.score(_rows("a", "b", "c"))] == [3.0] * 3
    assert _verdicts(pool.score(_rows("a", "hang"))) == ["timeout"] * 2
    assert _verdicts(pool.score(_rows("a", "exit"))) == ["error"] * 2
    assert _verdicts(pool.score(_rows("a", "short"))) == ["error"] * 2
    assert _verdicts(pool.score(_rows("a", "nan"))) == ["ok", "error"]
    assert [s.total for s in pool.score(_rows("a"))] == [1.0]


def test_large_list_wise_batches_are_cut_between_groups(make_pool):
    rows = [RewardRow("a", group_index=i // 300) for i in range(1200)]
    assert [s.total for s in make_pool("trl").score(rows)] == [300.0] * 1200


def test_text_survives_the_way(make_pool, tmp_path):
    file = tmp_path / "echo.py"
    file.write_text(
        "def echo(row):\n    return len(row.completion) if row.completion == row.answer else -1\n"
    )
    pool = HostPool(HostSpec(f"{file}:echo", {}, 5.0), 1)
    pool.start()
    texts = ["\ud800 lone", "\x00\x1f\n\r\u2028", "𝒳 好", "", "x" * 3_000_000]
    assert [s.total for s in pool.score([RewardRow(t, answer=t) for t in texts])] == [len(t) for t in texts]
    pool.close()


def test_output_goes_to_the_log(make_pool, tmp_path):
    make_pool(log_path=tmp_path / "log").score(_rows("a"))
    assert "noisenoise" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def other(row): return 1", "has no 'f'"),
        ("raise RuntimeError('at import')", "at import"),
        ("import os; os._exit(3)", "exit code 3"),
        ("import sys; sys.exit('bye')", "SystemExit"),
        ("def f(x, y): return 1", "cannot tell how to call"),
    ],
)
def test_unloadable_plugin_stops_before_anything_runs(tmp_path, source, message):
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(RewardLoadError, match=message):
        check_reward(f"{file}:f")
    assert not _hosts()


def test_hanging_import_is_a_load_error(tmp_path, monkeypatch):
    file = tmp_path / "slow.py"
    file.write_text("import time; time.sleep(3600)")
    monkeypatch.setattr("rewards.hosts.host_process._LOAD_TIMEOUT_S", 0.5)
    with pytest.raises(RewardLoadError, match=r"longer than 0\.5 s"):
        check_reward(f"{file}:f")
    assert not _hosts()


def test_host_follows_its_parent(plugin):
    script = (
        "import sys, time\n"
        "from rewards.hosts.pool import HostPool, HostSpec\n"
        "from rewards.rows import RewardRow\n"
        f"pool = HostPool(HostSpec({plugin + ':verl'!r}, {{}}, 60.0), 1)\n"
        "pool.start()\n"
        "print(int(pool.score([RewardRow('pid', answer='x')])[0].total), flush=True)\n"
        "pool.score([RewardRow('hang', answer='x')])\n"
    )
    import subprocess
    import sys

    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    host = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs([psutil.Process(host)] if psutil.pid_exists(host) else [], timeout=20)
    assert not is_running(host)
