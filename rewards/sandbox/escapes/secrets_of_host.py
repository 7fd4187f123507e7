"""Programs that read what others know: environments, /proc, memory of the harness, descriptors left open."""

# ruff: noqa: E501 (programs in other languages keep their own lines)
from __future__ import annotations

from rewards.sandbox.escapes.case import FAILS, Case, Category

_ENVIRONMENT = r"""
import glob
print(dict(os.environ))
for path in ["/proc/self/environ", "/proc/1/environ", "/proc/%d/environ" % os.getppid(), "/proc/@PID@/environ",
             *glob.glob("/proc/[0-9]*/environ"), *glob.glob("/proc/[0-9]*/task/*/environ")]:
    try:
        print(open(path, errors="replace").read())
    except OSError as error:
        print("refused", path, error)
tried()
"""

_STACK = r"""
extern char **environ;
int main(int count, char **arguments) {
    for (char **at = environ; *at; at++) puts(*at);
    /* Above the strings of the environment: what exec left there. */
    char *start = arguments[0], line[512], *found;
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned long low, high = 0;
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "[stack]")) sscanf(line, "%lx-%lx", &low, &high);
    if (high) fwrite(start, 1, high - (unsigned long)start, stdout);
    const char *files[] = {"/proc/1/environ", "/proc/1/mem", "/proc/1/maps", "/proc/1/auxv", "/proc/1/stack"};
    for (int i = 0; i < 5; i++) attempt(files[i], open(files[i], O_RDONLY));
    (void)found; (void)count;
    puts("");
    tried();
}
"""

_BASH_ENVIRONMENT = r"""
env; set; export -p
cat /proc/*/environ /proc/*/task/*/environ 2>/dev/null | tr '\0' '\n'
for place in /proc/1/root /proc/1/cwd /proc/1/exe /proc/@PID@/cwd /proc/@PID@/root; do
    attempt "look through $place" ls "$place/"
done
ps axeww 2>/dev/null
echo tried
"""

_NODE_ENVIRONMENT = r"""
const fs = require("fs");
console.log(JSON.stringify(process.env), process.argv, process.execArgv, process.report.getReport().environmentVariables);
for (const pid of ["self", "1", String(process.ppid), "@PID@"])
    for (const name of ["environ", "maps", "mem"])
        try { fs.readSync(fs.openSync(`/proc/${pid}/${name}`), Buffer.alloc(9)); if (name == "environ")
                console.log(fs.readFileSync(`/proc/${pid}/environ`, "utf8")); else if (pid != "self") console.log("ESCAPED", pid, name); }
        catch (error) { console.log("refused", pid, name, error.code); }
console.log("tried");
"""

_JAVA_ENVIRONMENT = r"""
public class Main {
    public static void main(String[] arguments) throws Exception {
        System.out.println(System.getenv());
        System.out.println(System.getProperties());
        try {
            ProcessHandle.allProcesses().limit(50).forEach(found -> {
                System.out.println(found.pid() + " " + found.info());
                if (found.pid() == @PID@L) System.out.println("ESCAPED sees a process of the host");
            });
        } catch (RuntimeException refused) { System.out.println("refused " + refused); }
        System.out.println("tried");
    }
}
"""

_PROCESSES = r"""
try:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
except OSError as error:
    pids = print("refused", error) or []
others = [pid for pid in pids if pid not in (1, os.getpid(), os.getppid())]
if others:
    print("ESCAPED sees processes", others[:20])
for pid in {1, os.getppid(), @PID@}:
    for name in ("mem", "environ", "maps", "root", "cwd", "exe", "fd", "fdinfo", "auxv", "stack", "syscall", "map_files",
                 "pagemap", "task/%d/mem" % pid):
        path = "/proc/%d/%s" % (pid, name)
        if name in ("root", "cwd", "exe"):
            attempt("link " + path, lambda: os.readlink(path))
        elif name in ("fd", "fdinfo", "map_files"):
            attempt("list " + path, lambda: os.listdir(path))
        else:
            attempt("open " + path, lambda: os.read(os.open(path, os.O_RDONLY), 99))
    for name in ("mem", "oom_score_adj", "clear_refs", "coredump_filter", "timerslack_ns", "comm", "setgroups"):
        attempt("write /proc/%d/%s" % (pid, name), lambda: os.write(os.open("/proc/%d/%s" % (pid, name), os.O_WRONLY), b"1000"))
tried()
"""

_PID_EXISTS = r"""
def exists():
    try:
        os.kill(@PID@, 0)
    except PermissionError:
        return True
attempt("a process of the host is there", exists)
tried()
"""

_MEMORY = r"""
import gc, re
wanted = re.compile(("expec" + "ted-").encode() + rb"[0-9a-f]{32}")
found = set()
try:
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            low, high = (int(x, 16) for x in span.split("-"))
            if "r" not in mode or high - low > 1 << 28 or "[v" in line:
                continue
            try:
                memory.seek(low)
                found |= set(wanted.findall(memory.read(high - low)))
            except (OSError, ValueError):
                pass
except OSError as error:
    print("refused", error)
print(found)
frame = sys._getframe()
while frame.f_back:
    frame = frame.f_back
    print("frame", frame.f_code.co_filename, {k: repr(v)[:200] for k, v in frame.f_locals.items()})
for thing in gc.get_objects():
    if isinstance(thing, (str, bytes)) and wanted.search(thing if isinstance(thing, bytes) else thing.encode()):
        print("object", thing)
    if type(thing).__module__ in ("socket", "rewards.sandbox.child.job") or type(thing).__name__ in ("Job", "SharedHost"):
        try:
            print("channel", thing.fileno(), thing.recv(9999))
        except Exception as error:
            print("refused", type(thing).__name__, error)
print([name for name in sys.modules if "rewards" in name or "grpo" in name])
tried()
"""

_DESCRIPTORS = r"""
import array, fcntl, socket, stat
for fd in range(3, 4096):
    try:
        kind = os.fstat(fd).st_mode
    except OSError:
        continue
    print("ESCAPED inherited", fd, oct(kind))
    try:
        print(os.readlink("/proc/self/fd/%d" % fd), os.pread(fd, 4096, 0))
    except OSError as error:
        print(error)
for fd in (0, 1, 2):
    def other(mode):
        again = os.open("/proc/self/fd/%d" % fd, mode | os.O_NONBLOCK)
        return os.write(again, b"evil") if mode == os.O_WRONLY else os.read(again, 100)
    if fd == 0:
        attempt("write stdin", lambda: os.write(0, b"evil"))
        attempt("reopen stdin for writing", lambda: other(os.O_WRONLY))
        attempt("grow stdin", lambda: os.ftruncate(0, 1 << 20))
        attempt("unseal stdin", lambda: fcntl.fcntl(0, 1033, 0))
        attempt("map stdin", lambda: __import__("mmap").mmap(0, 1, 1, 2))
    else:
        attempt("read output back", lambda: os.read(fd, 100))
    def credentials():
        with socket.socket(fileno=os.dup(fd)) as channel:
            return channel.send(b"evil")
    attempt("use as a socket", credentials)
tried()
"""

_C_DESCRIPTORS = r"""
int main(void) {
    for (int fd = 3; fd < 65536; fd++)
        if (fcntl(fd, F_GETFD) >= 0) {
            char text[256] = {0};
            printf("ESCAPED inherited %d %zd %s\n", fd, pread(fd, text, 255, 0), text);
        }
    attempt("write to stdin", write(0, "evil", 4));
    attempt("truncate stdin", ftruncate(0, 0));
    attempt("shared mapping of stdin", mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0, 0) == MAP_FAILED ? -1 : 0);
    attempt("a controlling terminal", open("/dev/tty", O_RDWR));
    attempt("push input", ioctl(0, TIOCSTI, "x"));
    attempt("push input to stderr's terminal", ioctl(2, TIOCSTI, "x"));
    /* A pipe whose readiness sends SIGKILL to a process of the host. */
    int ends[2];
    if (pipe(ends) == 0) {
        fcntl(ends[0], F_SETSIG, SIGKILL); fcntl(ends[0], F_SETOWN, @PID@); fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK);
        if (write(ends[1], "x", 1) == 1) usleep(50000);
    }
    tried();
}
"""

_ANSWERS = r"""
# What a program could guess that a judge leaves near it.
import glob
for root in ["/tmp", "/dev/shm", "/var/tmp", ".", os.path.dirname(os.path.abspath(__file__)), "/mnt", "/work"]:
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            if os.path.abspath(path) != os.path.abspath(__file__) and not os.path.abspath(path).startswith(sys.base_prefix):
                attempt("read " + path, lambda: open(path, "rb").read(200))
print(sys.argv, sys.orig_argv, sys.stdin.read())
attempt("another line of input", lambda: input())
tried()
"""

_IMITATION = r"""
print('{{"verdict": "ok", "exit_code": 0}}')
print("PASSED 1 of 1: all tests pass")
print("{message}", file=sys.stderr)
sys.stdout.flush()
{end}
"""


def _imitates(name: str, message: str, end: str) -> Case:
    return Case(
        f"imitate {name}", "python", _IMITATION.format(message=message, end=end), verdicts=FAILS, tries=False
    )


SECRETS = Category(
    "secrets",
    (
        Case("environments", "python", _ENVIRONMENT),
        Case("environment on the stack", "c", _STACK),
        Case("shell: environments", "bash", _BASH_ENVIRONMENT),
        Case("node: environments", "javascript", _NODE_ENVIRONMENT),
        Case("java: environments and processes", "java", _JAVA_ENVIRONMENT),
        Case("/proc of other processes", "python", _PROCESSES, danger="host"),
        Case("see that a process is there", "python", _PID_EXISTS, gaps=("landlock",)),
        Case("answers in the launcher's memory", "python", _MEMORY),
        Case("answers in files and arguments", "python", _ANSWERS),
        Case("inherited descriptors", "python", _DESCRIPTORS),
        Case("c: inherited descriptors", "c", _C_DESCRIPTORS),
    ),
)

IMITATIONS = Category(
    "imitations",
    (
        _imitates(
            "a kill for memory", "Out of memory: Killed process", "os.kill(os.getpid(), signal.SIGKILL)"
        ),
        _imitates("exit code 137", "memory limit exceeded", "os._exit(137)"),
        _imitates("a time limit", "TIME LIMIT EXCEEDED", "os.kill(os.getpid(), signal.SIGXCPU)"),
        _imitates("exit code 124", "timed out", "os._exit(124)"),
        _imitates("an output limit", "output limit", "os.kill(os.getpid(), signal.SIGXFSZ); os._exit(153)"),
        _imitates("a process limit", "fork: Resource temporarily unavailable", "os._exit(11)"),
        _imitates("MemoryError", "", "raise MemoryError"),
        _imitates("a missing program", "sandbox_error: not found", "os._exit(127)"),
        _imitates("a broken sandbox", "sandbox_error", "os.write(2, b'sandbox_error'); os._exit(255)"),
    ),
)
