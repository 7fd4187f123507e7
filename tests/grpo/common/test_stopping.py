"""Signals, in processes of their own: when they raise, when they wait, and which exit code they leave."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence

import pytest

from grpo.common import stopping

HEAD = """
import os, signal, sys, time
from grpo.common import stopping
stopping.REPEAT_S = {repeat}
stopping.listen({listen})
def me(number): os.kill(os.getpid(), number)
"""


def outcome(
    body: str, repeat: float = 0.0, listen: str = "", words: Sequence[str] = ()
) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a process that listens and then does this."""
    code = HEAD.format(repeat=repeat, listen=listen) + textwrap.dedent(body)
    # A test runner in the background ignores SIGINT, and what it starts would too.
    start = [*(words or ("env", "--default-signal=INT")), sys.executable, "-c", code]
    done = subprocess.run(start, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


CATCH = """
try:
    me(signal.{name})
    time.sleep(30)
except KeyboardInterrupt:
    stopping.leave_note("checkpoint of step 3")
    print(stopping.last_line())
    sys.exit(stopping.exit_code())
"""


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("SIGTERM", stopping.RESUMABLE, "interrupted by SIGTERM: checkpoint of step 3 (exit code 75)"),
        (
            "SIGHUP",
            stopping.RESUMABLE,
            "interrupted by SIGHUP (the terminal hung up): checkpoint of step 3 (exit code 75)",
        ),
        ("SIGINT", stopping.INTERRUPTED, "interrupted by Ctrl-C: checkpoint of step 3 (exit code 130)"),
    ],
)
def test_a_signal_raises_and_its_exit_code_says_which_it_was(name: str, code: int, says: str) -> None:
    assert outcome(CATCH.format(name=name))[:2] == (code, says + "\n")


def test_a_signal_waits_until_the_outermost_held_block_is_left() -> None:
    code, out, _ = outcome("""
        try:
            with stopping.held():
                with stopping.held():
                    me(signal.SIGTERM)
                    print("inner")
                print("outer")
            print("never")
        except KeyboardInterrupt:
            print("stopped")
        with stopping.held():
            print("saved")
        sys.exit(stopping.exit_code())
    """)
    assert (code, out.split()) == (75, ["inner", "outer", "stopped", "saved"])


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_the_process_at_once_also_while_it_saves(number: str) -> None:
    code, out, error = outcome(f"""
        try:
            me(signal.SIGINT)
            time.sleep(30)
        except KeyboardInterrupt:
            with stopping.held():
                me(signal.{number})
                time.sleep(1)
                print("saved")
    """)
    assert (code, out) == (130, "")
    assert "Ctrl-C again ends at once" in error
    assert "goes on from the last checkpoint" in error


@pytest.mark.parametrize(("repeat", "listen"), [(60.0, ""), (0.0, "second_ends=False")])
def test_the_same_signal_from_two_senders_counts_once(repeat: float, listen: str) -> None:
    code, out, _ = outcome(
        """
        try:
            me(signal.SIGTERM)
            time.sleep(30)
        except KeyboardInterrupt:
            me(signal.SIGINT)
            print("saved")
        sys.exit(stopping.exit_code())
        """,
        repeat,
        listen,
    )
    assert (code, out) == (75, "saved\n")


def test_a_terminal_that_hangs_up_twice_does_not_end_the_saving() -> None:
    code, out, _ = outcome("""
        try:
            me(signal.SIGHUP)
            time.sleep(30)
        except KeyboardInterrupt:
            with stopping.held():
                me(signal.SIGHUP)
                print("saved")
        sys.exit(stopping.exit_code())
    """)
    assert (code, out) == (75, "saved\n")


def test_ctrl_c_is_heard_though_nobody_reads_what_is_printed() -> None:
    """`2>&1 | tee log`: tee has heard Ctrl-C first and is gone."""
    code, out, _ = outcome("""
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 2)
        try:
            me(signal.SIGINT)
            time.sleep(30)
        except KeyboardInterrupt:
            print("saved")
        sys.exit(stopping.exit_code())
    """)
    assert (code, out) == (130, "saved\n")


@pytest.mark.parametrize("name", ["HUP", "INT"])
def test_what_a_process_was_started_to_ignore_stays_ignored(name: str) -> None:
    body = f"me(signal.SIG{name})\nprint('goes on')"
    assert outcome(body, words=("env", f"--ignore-signal={name}"))[:2] == (0, "goes on\n")


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_children_do_not_hear_it_and_a_library_cannot_take_the_handler(name: str) -> None:
    code, out, _ = outcome(f"""
        import subprocess
        sleeper = "import time; print('up', flush=True); time.sleep(30)"
        try:
            with stopping.kept_from_children():
                child = subprocess.Popen([sys.executable, "-c", sleeper], stdout=subprocess.PIPE)
                child.stdout.readline()
                signal.signal(signal.SIG{name}, signal.SIG_DFL)
                me(signal.SIG{name})
                print("started", flush=True)
        except KeyboardInterrupt:
            print("stopped", flush=True)
        child.send_signal(signal.SIG{name})
        time.sleep(0.2)
        print("lives" if child.poll() is None else "ended", flush=True)
        child.kill()
        sys.exit(stopping.exit_code())
    """)
    assert (code, out.split()) == (75, ["started", "stopped", "lives"])
