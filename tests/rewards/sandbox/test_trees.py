"""Cleaning up what a hostile program left on a host's file system, and looking at processes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from rewards.sandbox.child.process_tree import below, counted_tasks, processes, remove_tree, usage


def test_a_tree_goes_and_what_its_links_point_to_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    tree = tmp_path / "tree"
    (tree / "a/b/c").mkdir(parents=True)
    for folder in (tree, tree / "a", tree / "a/b/c"):
        (folder / "file").write_text("x")
        os.symlink(tmp_path / "mine", folder / "link")
        os.symlink(tmp_path / "mine/file", folder / "link2")
        os.symlink("..", folder / "up")
        os.mkfifo(folder / "fifo")
        os.link(tmp_path / "mine/file", folder / "hard")
    remove_tree(str(tree))
    assert not tree.exists()
    assert (tmp_path / "mine/file").read_text() == "mine"


def test_a_link_in_place_of_the_tree_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("mine")
    os.symlink("mine", tmp_path / "tree")
    remove_tree(str(tmp_path / "tree"))
    assert (tmp_path / "mine/file").read_text() == "mine"
    remove_tree(str(tmp_path / "never was"))


def test_no_depth_is_too_deep(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1500):  # beyond PATH_MAX and Python's recursion limit
        os.mkdir("a", dir_fd=fd)
        os.mkdir("b", dir_fd=fd)
        inner = os.open("a", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    remove_tree(str(tree))
    assert not tree.exists()


def test_modes_do_not_stop_it(tmp_path):
    tree = tmp_path / "tree"
    (tree / "closed/inner").mkdir(parents=True)
    (tree / "closed/inner/file").write_text("x")
    (tree / ".0").mkdir()  # names that the cleaner itself gives
    (tree / ".1").write_text("x")
    for folder in (tree / "closed/inner", tree / "closed", tree):
        folder.chmod(0)
    remove_tree(str(tree))
    assert not tree.exists()


def test_usage_counts_bytes_and_files_without_following(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/f").write_bytes(b"x" * 100_000)
    os.symlink("/", tmp_path / "root")
    assert usage(str(tmp_path), 200_000, 10)
    assert not usage(str(tmp_path), 50_000, 10)
    assert not usage(str(tmp_path), 200_000, 2)
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    assert usage(str(tmp_path), 200_000, 10)  # holds nothing


def test_processes_below_another_are_found(tmp_path):
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        try:
            assert child.stdout.readline() == b"up\n"
            give_up = time.monotonic() + 10
            found = below(child.pid, processes())
            while not (found and found[0].resident):  # one that is just starting a program holds nothing yet
                assert time.monotonic() < give_up
                time.sleep(0.01)
                found = below(child.pid, processes())
            assert len(found) == 1
            assert found[0].parent == child.pid
            assert found[0].tasks == 1
        finally:
            os.killpg(child.pid, 9)
    assert below(child.pid, processes()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that has nothing yet")
def test_tasks_are_counted_as_the_kernel_does():
    """Threads and the unreaped dead among them: with a limit of 5 more, 5 more start."""
    more = 5
    reading, writing = os.pipe()
    user = os.fork()
    if user == 0:
        try:
            os.setresuid(54_321, 54_321, 54_321)
            os.write(writing, bytes([_forks_within(more)]))
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == bytes([more])
    os.waitpid(user, 0)


def _forks_within(more):
    """How many forks work for this user, who already has living and dead, if `more` tasks beyond those are allowed."""
    living = [subprocess.Popen(["sleep", "60"]) for _ in range(7)]
    dead = [subprocess.Popen(["true"]) for _ in range(60)]
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    for process in dead:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    limit = counted_tasks(os.getuid()) + more
    assert limit == 1 + len(living) + len(dead) + 3 + more
    resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
    for started in range(50):
        try:
            subprocess.Popen(["sleep", "60"])
        except BlockingIOError:
            return started
    return 50
