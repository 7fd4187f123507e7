"""Programs that take all memory, disk, inodes or output there is."""

# ruff: noqa: E501 (programs in other languages keep their own lines)
from __future__ import annotations

from dataclasses import replace

from rewards.sandbox.escapes.case import ENDED, FAILS, TIGHT, Case, Category, one_of
from rewards.sandbox.types import Outcome

_LONGER = replace(TIGHT, wall_s=8.0)
"""The limit in question must be met before the clock's."""
_MEMORY = one_of("memory_limit", "runtime_error")
"""An allocation that the kernel refuses is the program's own error."""

_GROW = r"""
held = []
while True:
    held.append(bytearray(8 << 20))
"""
_ONE = r"""
x = bytearray(4 << 30)
for at in range(0, len(x), 4096):
    x[at] = 1
"""
_CHILDREN = r"""
for _ in range(12):
    if os.fork() == 0:
        held = bytearray(60 << 20)
        for at in range(0, len(held), 4096):
            held[at] = 1
        time.sleep(60)
time.sleep(60)
"""
_MMAP = r"""
int main(void) {
    for (;;) {
        char *part = mmap(0, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (part == MAP_FAILED) abort();
    }
}
"""
_HIDDEN = r"""
/* Pages of a shared mapping stay when they are unmapped: the process looks small. */
int main(void) {
    size_t size = 1UL << 30, step = 8 << 20;
    char *all = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return 1;
    for (size_t at = 0; at + step < size; at += step) { memset(all + at, 1, step); munmap(all + at, step); }
    puts("ESCAPED holds 1 GiB unseen");
    return 0;
}
"""
_SHARED = r"""
int main(void) {
    size_t size = 1UL << 30;
    char *all = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return 1;
    for (size_t at = 0; at < size; at += 4096) all[at] = 1;
    puts("ESCAPED holds 1 GiB");
    return 0;
}
"""
_LEADER = r"""
static void *grow(void *nothing) {
    for (;;) { char *part = malloc(4 << 20); if (!part) abort(); memset(part, 1, 4 << 20); }
}
int main(void) { pthread_t thread; pthread_create(&thread, 0, grow, 0); pthread_exit(0); }
"""
_MEMFD = r"""
int main(void) {
    static char block[1 << 20];
    int fd = syscall(SYS_memfd_create, "all", 0), shm = open("/dev/shm/all", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 512; i++) {
        if (fd >= 0 && write(fd, block, sizeof block) > 0 && i == 511) puts("ESCAPED 512 MiB in a memory file");
        if (shm >= 0 && write(shm, block, sizeof block) > 0 && i == 511) puts("ESCAPED 512 MiB in /dev/shm");
    }
    tried();
}
"""
_PIPES = r"""
int main(void) {
    static char block[1 << 20];
    long total = 0;
    for (int child = 0; child < 20; child++) if (fork() == 0) {
        for (int ends[2]; pipe(ends) == 0;) {
            fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
            fcntl(ends[1], F_SETFL, O_NONBLOCK);
            while (write(ends[1], block, sizeof block) > 0) total++;
        }
        pause();
    }
    sleep(1);
    tried();
}
"""
_JAVASCRIPT = r"""
const held = [];
for (;;) held.push(Buffer.alloc(8 << 20, 1));
"""
_JAVA = r"""
import java.util.*;
public class Main {
    public static void main(String[] arguments) {
        List<byte[]> held = new ArrayList<>();
        while (true) { byte[] part = new byte[8 << 20]; Arrays.fill(part, (byte) 1); held.add(part); }
    }
}
"""
_RUST = r"""
fn main() { let mut held: Vec<Vec<u8>> = Vec::new(); loop { held.push(vec![1u8; 8 << 20]); } }
"""
_RECURSION = r"""
int deeper(volatile char *above) { volatile char mine[4096]; mine[0] = *above + 1; return deeper(mine) + mine[0]; }
int main(void) { volatile char start[1] = {0}; return deeper(start); }
"""

_FILL = r"""
block = bytes(1 << 20)
for place in [".", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev", os.path.expanduser("~")]:
    written = 0
    try:
        with open(place + "/fill", "wb", buffering=0) as file:
            while written < 1 << 30:
                written += file.write(block)
    except OSError as error:
        print("refused", place, written, error)
    if written > 17 << 20:
        print("ESCAPED wrote", written, "to", place)
    sys.stdout.flush()
tried()
"""
_UNNAMED = r"""
block, held, written = bytes(1 << 20), [], 0
try:
    for number in range(200):
        file = open("f%d" % number, "wb", buffering=0)
        os.unlink("f%d" % number)
        held.append(file)
        for _ in range(4):
            written += file.write(block)
except OSError as error:
    print("refused", error)
if written > 64 << 20:
    print("ESCAPED holds", written, "bytes in files without a name")
tried()
"""
_SPARSE = r"""
attempt "a sparse terabyte" truncate -s 1T sparse
attempt "fallocate" fallocate -l 1G big
dd if=/dev/zero of=zero bs=1M count=400 2>&1 | tail -1
size=$(du -sm . | cut -f1)
[ "$size" -gt 40 ] && echo "ESCAPED $size MiB"
echo tried
"""
_INODES = r"""
int main(void) {
    char name[64];
    long made = 0;
    for (long i = 0; i < 400000; i++) {
        sprintf(name, i % 3 ? "e%ld" : "d%ld", i);
        if (i % 3 == 0 ? mkdir(name, 0700) : i % 3 == 1 ? close(open(name, O_CREAT | O_WRONLY, 0600)) : symlink("/", name)) break;
        made++;
    }
    for (long i = 0; i < 100000; i++) {
        sprintf(name, "/dev/shm/e%ld", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        if (fd < 0) break;
        close(fd); made++;
    }
    if (made > 100000) printf("ESCAPED made %ld files\n", made);
    tried();
}
"""
_BASH_INODES = r"""
for i in $(seq 1 40000); do : > f$i || break; done 2> /dev/null
mkdir -p $(seq -s / 1 900) 2> /dev/null
echo tried
"""

_FLOOD = r"""
while True:
    os.write(1, b"x" * 65536)
"""
_STDERR = r"""
int main(void) { static char block[65536]; memset(block, 0xff, sizeof block); for (;;) if (write(2, block, sizeof block) < 0) pause(); }
"""
_BOTH = r"""
for _ in range(4):
    os.fork()
while True:
    os.write(1, b"\xff\x00\x1b[2J")
    os.write(2, b"\xff" * 4096)
"""
_ORPHAN_FLOOD = r"""
if os.fork() == 0:
    os.setsid()
    while True:
        os.write(1, b"x" * 65536)
time.sleep(5)
"""
_NODE_FLOOD = r"""
const text = "y".repeat(1 << 16);
for (;;) require("fs").writeSync(1, text);
"""


def _is_cut(outcome: Outcome) -> str | None:
    longest = max(len(outcome.stdout), len(outcome.stderr))
    return None if longest <= TIGHT.output_bytes else f"{longest} bytes of output came through"


def _grows(name: str, language: str, source: str, **more: object) -> Case:
    return replace(
        Case(name, language, source, _MEMORY, _LONGER, tries=False, danger="host"),
        **more,  # type: ignore[arg-type]
    )


def _floods(name: str, language: str, source: str) -> Case:
    return Case(
        name, language, source, one_of("output_limit"), _LONGER, tries=False, check=_is_cut, danger="host"
    )


MEMORY = Category(
    "memory",
    (
        _grows("little by little", "python", _GROW),
        _grows("at once", "python", _ONE),
        _grows("by twelve children", "python", _CHILDREN, verdicts=one_of("memory_limit")),
        _grows("c: populated mappings", "c", _MMAP),
        _grows("c: a shared mapping", "c", _SHARED),
        _grows("c: a thread whose leader has ended", "c", _LEADER),
        _grows("node: buffers", "javascript", _JAVASCRIPT),
        _grows("java: arrays", "java", _JAVA),
        _grows("rust: vectors", "rust", _RUST),
        _grows("c: recursion", "c", _RECURSION, verdicts=FAILS),
        Case("c: shared pages unmapped but kept", "c", _HIDDEN, _MEMORY, _LONGER, tries=False, danger="host"),
        Case("c: memory files and /dev/shm", "c", _MEMFD, ENDED, _LONGER, tries=False, danger="host"),
        Case("c: pipes", "c", _PIPES, ENDED, _LONGER, tries=False, danger="host"),
    ),
)

DISK = Category(
    "disk",
    (
        Case("fill every place", "python", _FILL, ENDED, tries=False, danger="host"),
        Case(
            "files without a name", "python", _UNNAMED, ENDED, tries=False, gaps=("landlock",), danger="host"
        ),
        Case("shell: sparse and large files", "bash", _SPARSE, ENDED, tries=False, danger="host"),
        Case("c: 400,000 files, folders and links", "c", _INODES, ENDED, tries=False, danger="host"),
        Case("shell: many and deep", "bash", _BASH_INODES, ENDED, tries=False, danger="host"),
    ),
)

OUTPUT = Category(
    "output",
    (
        _floods("flood stdout", "python", _FLOOD),
        _floods("c: flood stderr, no UTF-8", "c", _STDERR),
        _floods("sixteen processes flood both", "python", _BOTH),
        _floods("a child floods", "python", _ORPHAN_FLOOD),
        _floods("shell: yes", "bash", "yes"),
        _floods("node: flood", "javascript", _NODE_FLOOD),
    ),
)
