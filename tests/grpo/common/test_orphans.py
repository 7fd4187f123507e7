"""What a process has started ends with it, also when it is killed and its child handles SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil

STARTER = """
import subprocess, sys
from grpo.common.orphans import ending_with_me

CHILD = '''
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(grandchild.pid, flush=True)
grandchild.wait()
import time; time.sleep(600)
'''
child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, start_new_session=True)
grandchild = int(child.stdout.readline())
with ending_with_me(child.pid, grace_s=0.2):
    print(child.pid, grandchild, flush=True)
    if sys.stdin.readline() == "leave\\n":
        pass
child.kill()
"""


def start() -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    return starter, [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]


def test_a_group_ends_with_the_process_that_started_it_although_that_is_killed() -> None:
    starter, family = start()
    assert all(process.is_running() for process in family)
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    _, alive = psutil.wait_procs(family, timeout=30)
    for process in alive:
        process.kill()
    assert not alive


def test_what_leaves_the_block_leaves_the_rest_of_the_group_alone() -> None:
    starter, (child, grandchild) = start()
    starter.communicate("leave\n", timeout=30)
    psutil.wait_procs([child], timeout=30)
    assert grandchild.is_running(), "the guard is gone"
    grandchild.kill()
