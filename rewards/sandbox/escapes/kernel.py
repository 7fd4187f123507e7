"""Programs that ask the kernel for what a program needs no more than an attacker does."""

from __future__ import annotations

from rewards.sandbox.escapes.case import ENDED, TIGHT, Case, Category

_CALLS = r"""
int main(void) {
    char page[4096] = {0}, attributes[128] = {0};
    uint32_t *attribute = (uint32_t *)attributes;
    attempt("io_uring_setup", syscall(425, 8, memset(page, 0, sizeof page)));
    attempt("io_uring_enter", syscall(426, 0, 0, 0, 0, 0, 0));
    attempt("userfaultfd", syscall(SYS_userfaultfd, 1));
    attribute[1] = sizeof attributes;
    attempt("perf_event_open", syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0));
    attempt("bpf", syscall(SYS_bpf, 0, attributes, sizeof attributes));
    attempt("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    attempt("add_key", syscall(SYS_add_key, "user", "evil", "x", 1, -4));
    attempt("request_key", syscall(SYS_request_key, "user", "evil", 0, -4));
    attempt("init_module", syscall(SYS_init_module, page, 4096, ""));
    attempt("finit_module", syscall(SYS_finit_module, 0, "", 0));
    attempt("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    attempt("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0, 0));
    attempt("syslog", syscall(SYS_syslog, 3, page, 4096));
    attempt("settimeofday", settimeofday(&(struct timeval){1, 1}, 0));
    attempt("clock_settime", clock_settime(0, &(struct timespec){1, 1}));
    attempt("sethostname", sethostname("evil", 4));
    attempt("setdomainname", setdomainname("evil", 4));
    attempt("swapoff", syscall(SYS_swapoff, "/dev/vda"));
    attempt("personality", syscall(SYS_personality, 0x0040000));
    attempt("fanotify_init", syscall(SYS_fanotify_init, 0, 0));
    attempt("quotactl", syscall(SYS_quotactl, 0x800002 << 8, 0, 0, page));
    attempt("vhangup", syscall(SYS_vhangup));
    attempt("lookup_dcookie", syscall(212 /* x86 */, 1UL, page, 4096UL) > 0 ? 0 : -1);
    attempt("memfd_create", syscall(SYS_memfd_create, "evil", 0));
    attempt("memfd_secret", syscall(447, 0));
    tried();
}
"""
_NAMESPACES = r"""
static char stack[65536];
static int child(void *nothing) { return 0; }
int main(void) {
    int kinds[] = {0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80};
    for (int i = 0; i < 8; i++) {
        attempt("unshare", unshare(kinds[i]));
        if (kinds[i] != 0x80) attempt("clone", clone(child, stack + 65536, kinds[i] | SIGCHLD, 0));
    }
    attempt("unshare user and mounts", unshare(0x10020000));
    uint64_t arguments[11] = {0x10020000, 0, 0, 0, SIGCHLD};
    long made = syscall(435, arguments, sizeof arguments);
    if (made == 0) _exit(0);
    attempt("clone3", made);
    attempt("mount", mount("none", "/tmp", "tmpfs", 0, 0));
    attempt("bind", mount("/", "/tmp", 0, MS_BIND, 0));
    attempt("remount", mount("none", "/", 0, MS_REMOUNT | MS_BIND, 0));
    attempt("remount /usr", mount("none", "/usr", 0, MS_REMOUNT | MS_BIND, 0));
    attempt("proc", mount("proc", "/tmp", "proc", 0, 0));
    attempt("umount", umount2("/proc", MNT_DETACH));
    attempt("umount tmp", umount2("/tmp", MNT_DETACH));
    attempt("open_tree", syscall(428, AT_FDCWD, "/", 1));
    attempt("fsopen", syscall(430, "tmpfs", 0));
    attempt("move_mount", syscall(429, AT_FDCWD, "/usr", AT_FDCWD, "/tmp", 0));
    attempt("mount_setattr", syscall(442, AT_FDCWD, "/", 0, &arguments, 32));
    attempt("pivot_root", syscall(SYS_pivot_root, ".", "."));
    mkdir("jail", 0700);
    attempt("chroot", chroot("jail"));
    int space = open("/proc/1/ns/user", O_RDONLY);
    if (space >= 0) attempt("setns", setns(space, 0));
    tried();
}
"""
_RIGHTS = r"""
#include <grp.h>
#include <linux/capability.h>
int main(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}}, held[2];
    attempt("setuid", getuid() ? setuid(0) : 0);
    attempt("setgid", getgid() ? setgid(0) : 0);
    attempt("setresuid", setresuid(-1, 0, -1));
    attempt("setgroups", setgroups(0, 0));
    attempt("setfsuid", syscall(SYS_setfsuid, 0) == 0 || syscall(SYS_setfsuid, -1) == 0 ? 0 : -1);
    attempt("capset", syscall(SYS_capset, &head, all));
    if (syscall(SYS_capget, &head, held) == 0)
        attempt("a capability", held[0].effective | held[0].permitted | held[1].effective | held[1].permitted ? 0 : -1);
    attempt("no_new_privs off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    attempt("no_new_privs is off", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? -1 : 0);
    attempt("no filter", prctl(PR_GET_SECCOMP) == 2 ? -1 : 0);
    attempt("ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    attempt("bounding set holds something", prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN) == 1 && getuid() == 0 ? 0 : -1);
    attempt("securebits", prctl(PR_SET_SECUREBITS, 0x2f));
    attempt("mm", prctl(PR_SET_MM, 1, 0, 0, 0));
    int names[] = {RLIMIT_NPROC, RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_MEMLOCK};
    for (int i = 0; i < 6; i++) {
        struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY}, now;
        getrlimit(names[i], &now);
        attempt("unbounded", now.rlim_max == RLIM_INFINITY ? 0 : -1);
        attempt("raise a limit", setrlimit(names[i], &more));
    }
    attempt("iopl", syscall(SYS_iopl, 3));
    attempt("ioperm", syscall(SYS_ioperm, 0, 5, 1));
    attempt("real time", sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}));
    attempt("io priority", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
    attempt("locked memory", mlockall(MCL_FUTURE | MCL_CURRENT));
    tried();
}
"""
_IPC = r"""
#include <mqueue.h>
#include <sys/msg.h>
#include <sys/sem.h>
int main(void) {
    char *memory = shmat(@SHM@, 0, 0);
    attempt("attach the host's segment", memory == (void *)-1 ? -1 : 0);
    if (memory != (void *)-1) { puts(memory); strcpy(memory, "evil"); }
    attempt("remove it", shmctl(@SHM@, IPC_RMID, 0));
    attempt("make a segment", shmget(0x6576696c, 4096, IPC_CREAT | 0666));
    attempt("make a queue", msgget(0x6576696c, IPC_CREAT | 0666));
    attempt("make semaphores", semget(0x6576696c, 1, IPC_CREAT | 0666));
    attempt("posix queue", syscall(SYS_mq_open, "evil", O_CREAT | O_RDWR, 0666, 0));
    int fd = shm_open("/@POSIX_SHM@", O_RDWR, 0);
    attempt("posix segment", fd);
    char text[200] = {0};
    if (fd >= 0) { if (read(fd, text, 199) > 0) puts(text); if (pwrite(fd, "evil", 4, 0)) puts(""); }
    attempt("unlink it", shm_unlink("/@POSIX_SHM@"));
    for (int id = 0; id < 64; id++) if (shmctl(id, IPC_STAT, &(struct shmid_ds){0}) == 0) attempt("a segment", id);
    tried();
}
"""
_SELF = r"""
import mmap
# What a program may do to itself must stay so: no bug of a filter may turn these into a dead sandbox.
with open("/proc/self/comm", "w") as file:
    file.write("a) R (b\n")
libc.prctl(15, b"x) Z 1 1 (")
subprocess.run(["/bin/sh", "-c", "exit 3"])
subprocess.run(["/usr/bin/env", "true"], check=True)
import threading, multiprocessing
thread = threading.Thread(target=lambda: None)
thread.start(); thread.join()
mapped = mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
mapped[:4] = b"good"
ours, theirs = __import__("socket").socketpair()
ours.send(b"x"); theirs.recv(1)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
tried()
"""

_RANDOM = r"""
static char area[65536];
static long argument(void) {
    switch (rand() % 12) {
        case 0: return 0; case 1: return -1; case 2: return rand() % 16; case 3: return (long)area;
        case 4: return getpid(); case 5: return 1; case 6: return rand(); case 7: return (long)(area + rand() % 4096);
        case 8: return 1L << (rand() % 63); case 9: return 4096; case 10: return getppid();
        default: return rand() % 512;
    }
}
int main(void) {
    for (int child = 0; child < 100; child++) {
        if (fork() == 0) {
            srand(child); alarm(1);
            for (unsigned i = 0; i < sizeof area; i++) area[i] = rand() % 3 ? 0 : rand();
            for (int i = 0; i < 60; i++)
                syscall(rand() % 470, argument(), argument(), argument(), argument(), argument(), argument());
            _exit(0);
        }
        while (waitpid(-1, 0, WNOHANG) > 0) ;
    }
}
"""

KERNEL = Category(
    "kernel",
    (
        Case("dangerous system calls", "c", _CALLS, danger="host", machine="x86_64"),
        Case("namespaces and mounts", "c", _NAMESPACES, danger="host"),
        Case("capabilities, ids and limits", "c", _RIGHTS, danger="host", machine="x86_64"),
        Case("6,000 random system calls", "c", _RANDOM, ENDED, TIGHT, tries=False, danger="signals"),
        Case("shared memory and queues of the host", "c", _IPC, danger="none"),
        Case("a name that looks like a line of /proc", "python", _SELF, gaps=("landlock",), danger="host"),
    ),
)
