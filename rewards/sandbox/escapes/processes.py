"""Programs that attack other processes, and that do not end."""

# ruff: noqa: E501 (programs in other languages keep their own lines)
from __future__ import annotations

from dataclasses import replace

from rewards.sandbox.escapes.case import ENDED, TIGHT, Case, Category, one_of
from rewards.sandbox.types import Outcome

_KILL_CANARY = r"""
for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGUSR1):
    attempt("signal %d to a process of the host" % number, lambda: os.kill(@PID@, number))
attempt("its group", lambda: os.killpg(@PID@, signal.SIGKILL))
attempt("by descriptor", lambda: signal.pidfd_send_signal(os.pidfd_open(@PID@), signal.SIGKILL))
attempt("renice it", lambda: os.setpriority(os.PRIO_PROCESS, @PID@, 19))
attempt("idle it", lambda: os.sched_setscheduler(@PID@, os.SCHED_IDLE, os.sched_param(0)))
attempt("pin it", lambda: os.sched_setaffinity(@PID@, [0]))
attempt("limit it", lambda: __import__("resource").prlimit(@PID@, 7, (3, 3)))
attempt("a higher priority", lambda: os.nice(-5))
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
tried()
"""

_KILL_PARENT = r"""
import resource
parent = os.getppid()
for number in range(1, 65):
    try:
        os.kill(parent, number)
    except OSError as error:
        print("refused", number, error)
for name in ("NOFILE", "CPU", "AS", "FSIZE", "NPROC", "STACK", "DATA", "MEMLOCK"):
    attempt("limit %s of process 1" % name, lambda: resource.prlimit(parent, getattr(resource, "RLIMIT_" + name), (0, 0)))
attempt("pin process 1", lambda: os.sched_setaffinity(parent, [0]))
attempt("slow process 1", lambda: os.setpriority(os.PRIO_PROCESS, parent, 19))
attempt("idle process 1", lambda: os.sched_setscheduler(parent, os.SCHED_IDLE, os.sched_param(0)))
time.sleep(0.2)
tried()
"""

_KILL_ALL = r"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP, signal.SIGKILL):
    try:
        os.kill(-1, number)
    except OSError as error:
        print("refused", number, error)
for pid in range(2, 70000):
    if pid not in (os.getpid(), os.getpgrp()):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
tried()
"""

_BASH_KILL = r"""
kill -STOP $PPID; kill -9 $PPID; kill -9 1; kill -INT 1; kill -TERM 1
kill -9 -1
for pid in $(ls /proc | grep -E '^[0-9]+$' | grep -v -x $$); do kill -9 $pid; done 2>/dev/null
echo tried
"""

_PTRACE = r"""
int main(void) {
    int parent = getppid(), targets[] = {1, parent, @PID@};
    for (int i = 0; i < 3; i++) {
        char text[4096];
        struct iovec mine = {text, sizeof text}, theirs = {&mine, 64};
        attempt("attach", ptrace(PTRACE_ATTACH, targets[i], 0, 0));
        attempt("seize", ptrace(PTRACE_SEIZE, targets[i], 0, 0));
        attempt("read memory", process_vm_readv(targets[i], &mine, 1, &theirs, 1, 0));
        attempt("write memory", process_vm_writev(targets[i], &mine, 1, &theirs, 1, 0));
        attempt("kcmp", syscall(SYS_kcmp, getpid(), targets[i], 0, 0, 0));
        int handle = syscall(SYS_pidfd_open, targets[i], 0);
        for (int fd = 0; handle >= 0 && fd < 8; fd++) attempt("take a descriptor", syscall(438, handle, fd, 0));
        if (handle >= 0) attempt("enter its namespaces", setns(handle, 0x4C020000));
        if (handle >= 0 && targets[i] == @PID@) attempt("signal by descriptor", syscall(SYS_pidfd_send_signal, handle, SIGKILL, 0, 0));
        char path[64];
        sprintf(path, "/proc/%d/mem", targets[i]);
        attempt(path, open(path, O_RDWR));
        sprintf(path, "/proc/%d/ns/mnt", targets[i]);
        int space = open(path, O_RDONLY);
        if (space >= 0) attempt("setns", setns(space, 0));
        attempt("move its pages", syscall(SYS_migrate_pages, targets[i], 8, &mine, &mine));
    }
    if (fork() == 0) { attempt("trace me", ptrace(PTRACE_TRACEME, 0, 0, 0)); _exit(0); }
    wait(0);
    tried();
}
"""

_FORK_BOMB = r"""
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
_C_FORK_BOMB = r"""
int main(void) { for (;;) fork(); }
"""
_BASH_BOMB = r""":(){ :|:& };:
while :; do sleep 0.05 & done"""
_NODE_BOMB = r"""
const { spawn } = require("child_process");
setInterval(() => { for (let i = 0; i < 8; i++) spawn(process.execPath, [__filename], { stdio: "ignore", detached: true })
    .on("error", () => {}); }, 1);
"""
_THREADS = r"""
static void *rest(void *nothing) { pause(); return nothing; }
int main(void) { pthread_t thread; for (;;) if (pthread_create(&thread, 0, rest, 0)) usleep(1000); }
"""
_JAVA_THREADS = r"""
public class Main {
    public static void main(String[] arguments) throws Exception {
        while (true) {
            try { new Thread(() -> { try { Thread.sleep(99999); } catch (Exception e) {} }).start(); }
            catch (Throwable full) { Thread.sleep(1); }
        }
    }
}
"""
_RUST_BOMB = r"""
use std::process::Command;
fn main() {
    let me = std::env::current_exe().unwrap_or("./main".into());
    loop { let _ = Command::new(&me).spawn(); let _ = std::thread::Builder::new().spawn(|| loop { std::thread::park() }); }
}
"""
_COMET = r"""
int main(void) {
    prctl(PR_SET_NAME, "@NONCE@");
    tried();
    if (fork()) return 0;
    setsid(); close(0); close(1); close(2);
    for (;;) if (fork()) _exit(0);
}
"""
_ORPHAN = r"""
libc.prctl(15, b"@NONCE@")
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 65):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            time.sleep(120)
        os._exit(0)
print("tried", flush=True)
os._exit(0)
"""
_C_DAEMON = r"""
int main(void) {
    tried();
    for (int i = 0; i < 8; i++) if (fork() == 0) {
        daemon(0, 1);
        prctl(PR_SET_NAME, "@NONCE@"); prctl(PR_SET_PDEATHSIG, 0); prctl(PR_SET_CHILD_SUBREAPER, 1); prctl(PR_SET_DUMPABLE, 0);
        sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0);
        for (;;) { if (i % 2) pause(); }
    }
}
"""
_BASH_ORPHAN = r"""
trap '' TERM HUP INT QUIT
for i in 1 2 3; do (exec -a @NONCE@ nohup setsid sleep 120 < /dev/null &) ; (trap '' HUP; while :; do echo late >> late.txt; sleep 0.1; done &); done
disown -a
echo tried
"""
_NODE_ORPHAN = r"""
const { spawn } = require("child_process");
for (let i = 0; i < 4; i++)
    spawn("/usr/bin/env", ["sleep", "120"], { argv0: "@NONCE@", detached: true, stdio: "inherit" }).unref();
process.on("exit", () => console.log("tried"));
process.exit(0);
"""
_WRITER = r"""
if os.fork() == 0:
    time.sleep(0.05)
    while True:
        try:
            os.write(1, b"late " * 100)
        except OSError:
            pass
tried()
os._exit(0)
"""
_IGNORES = r"""
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    try:
        time.sleep(99)
    except BaseException:
        pass
"""
_C_BLOCKS = r"""
int main(void) {
    sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0);
    struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_CPU, &more);
    for (int i = 0; i < 8; i++) if (fork() == 0) break;
    for (;;) ;
}
"""
_STOPS = r"""
if os.fork() == 0:
    os.kill(os.getppid(), signal.SIGSTOP)
    os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(99)
"""
_BASH_LOOPS = r"""
trap '' TERM INT HUP QUIT XCPU ALRM
trap 'exec "$0"' EXIT
while :; do :; done
"""
_JAVA_HOOK = r"""
public class Main {
    public static void main(String[] arguments) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { while (true) { } }));
        new Thread(() -> { while (true) { } }).start();
        System.out.println("tried");
        System.out.flush();
        System.exit(0);
    }
}
"""
_VFORK = r"""
int main(void) {
    signal(SIGTERM, SIG_IGN);
    for (int i = 0; i < 6; i++) if (fork() == 0) {
        if (vfork() == 0) { for (;;) pause(); }
        _exit(0);
    }
    for (;;) pause();
}
"""
_WAKES = r"""
int main(void) {
    for (int i = 0; i < 3; i++) fork();
    for (;;) { kill(1, SIGCHLD); kill(getppid(), SIGCHLD); }
}
"""
_SIBLINGS = r"""
/* Children of process 1 instead of its own, which end before it with other codes. */
int main(void) {
    for (int i = 0; i < 20; i++) if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0) _exit(i % 2 ? 0 : 66);
    usleep(50000);
    tried();
    return 9;
}
"""
_EXEC_LOOP = r"""
os.execv(sys.executable, [sys.executable, "-S", "-c", "import os\nos.execv(%r, ['/bin/sh', '-c', 'while :; do :; done'])" % "/bin/sh"])
"""


def _ended_with_9(outcome: Outcome) -> str | None:
    return None if outcome.exit_code == 9 else f"exit code {outcome.exit_code} is that of another process"


PROCESSES = Category(
    "signals",
    (
        # The first shows on a canary alone whether signals are held; if not, the suite leaves out those that hit more.
        Case("kill a process of the host", "python", _KILL_CANARY),
        Case("trace and read other processes", "c", _PTRACE, danger="host"),
        Case("end or starve process 1", "python", _KILL_PARENT, danger="signals"),
        Case("kill everything", "python", _KILL_ALL, danger="signals"),
        Case("shell: kill everything", "bash", _BASH_KILL, danger="signals"),
        Case(
            "c: keep process 1 awake", "c", _WAKES, one_of("time_limit"), TIGHT, tries=False, danger="signals"
        ),
        Case(
            "c: children of process 1",
            "c",
            _SIBLINGS,
            one_of("runtime_error"),
            check=_ended_with_9,
            danger="host",
        ),
    ),
)

BOMBS = Category(
    "bombs",
    (
        Case("fork bomb", "python", _FORK_BOMB, one_of("process_limit"), TIGHT, tries=False, danger="host"),
        Case("c: fork bomb", "c", _C_FORK_BOMB, one_of("process_limit"), TIGHT, tries=False, danger="host"),
        Case(
            "shell: fork bomb", "bash", _BASH_BOMB, one_of("process_limit"), TIGHT, tries=False, danger="host"
        ),
        Case("node: fork bomb", "javascript", _NODE_BOMB, ENDED - {"ok"}, TIGHT, tries=False, danger="host"),
        Case("c: threads", "c", _THREADS, one_of("process_limit"), TIGHT, tries=False, danger="host"),
        Case(
            "java: threads",
            "java",
            _JAVA_THREADS,
            one_of(
                "process_limit", "memory_limit", "time_limit"
            ),  # a busy host starts the machine for a second
            TIGHT,
            tries=False,
            danger="host",
        ),
        Case(
            "rust: processes and threads",
            "rust",
            _RUST_BOMB,
            one_of("process_limit"),
            TIGHT,
            tries=False,
            danger="host",
        ),
        Case("c: a chain of forks that nothing can follow", "c", _COMET, within_s=5, danger="host"),
    ),
)

LINGERING = Category(
    "lingering",
    (
        Case("orphans that hold stdout", "python", _ORPHAN, within_s=5, danger="host"),
        Case("c: daemons that block all signals", "c", _C_DAEMON, within_s=5, danger="host"),
        Case("shell: background jobs", "bash", _BASH_ORPHAN, within_s=5, danger="host"),
        Case("node: detached children", "javascript", _NODE_ORPHAN, within_s=5, danger="host"),
        Case("an orphan that goes on writing", "python", _WRITER, ENDED, within_s=5, danger="host"),
        Case(
            "ignore all signals and sleep",
            "python",
            _IGNORES,
            one_of("time_limit"),
            TIGHT,
            tries=False,
            danger="host",
        ),
        Case(
            "c: block all signals and burn",
            "c",
            _C_BLOCKS,
            one_of("time_limit"),
            TIGHT,
            tries=False,
            danger="host",
        ),
        Case(
            "stop itself and its child",
            "python",
            _STOPS,
            one_of("time_limit"),
            TIGHT,
            tries=False,
            danger="host",
        ),
        Case(
            "shell: loop with traps",
            "bash",
            _BASH_LOOPS,
            one_of("time_limit"),
            TIGHT,
            tries=False,
            danger="host",
        ),
        Case(
            "java: a shutdown hook that never ends",
            "java",
            _JAVA_HOOK,
            one_of("time_limit"),
            replace(TIGHT, wall_s=3.0),
            danger="host",
        ),
        Case(
            "c: parents stuck in vfork", "c", _VFORK, one_of("time_limit"), TIGHT, tries=False, danger="host"
        ),
        Case(
            "become another program",
            "python",
            _EXEC_LOOP,
            one_of("time_limit"),
            TIGHT,
            tries=False,
            danger="host",
        ),
    ),
)
