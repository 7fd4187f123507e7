"""Helpers that are prepended to hostile programs, so that all report in the same words what they reached."""

from __future__ import annotations

PYTHON = r"""
import ctypes, os, sys, signal, subprocess, time
libc = ctypes.CDLL(None, use_errno=True)

def attempt(what, action):
    try:
        found = action()
    except BaseException as error:
        print("refused", what, type(error).__name__, str(error)[:200])
    else:
        print("ESCAPED", what, repr(found)[:400])
    sys.stdout.flush()

def call(what, number, *arguments):
    got = libc.syscall(ctypes.c_long(number), *arguments)
    print(*(("ESCAPED", what, got) if got >= 0 else ("refused", what, ctypes.get_errno())))
    sys.stdout.flush()

def tried():
    print("tried")
    sys.stdout.flush()
"""

C = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>

static inline void attempt(const char *what, long got) {
    if (got >= 0) printf("ESCAPED %s %ld\n", what, got);
    else printf("refused %s %s\n", what, strerror(errno));
    fflush(stdout);
}

static inline void tried(void) { puts("tried"); fflush(stdout); }
"""

BASH = r"""
attempt() {
    local what=$1 got
    shift
    if got=$("$@" 2>&1); then echo "ESCAPED $what ${got:0:400}"; else echo "refused $what ${got:0:200}"; fi
}
"""

PRELUDES = {"python": PYTHON, "c": C, "bash": BASH}
