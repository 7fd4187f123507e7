"""The system-call filter of sandboxed programs, packed by hand as classic BPF (no library needed).

The filter is a deny list of calls that serve only escapes, expose kernel attack surface or use resources outside the
other limits. Compilers, threads, asyncio, multiprocessing, node, Java, Go and Rust run under it. The filter is a pure
function of the architecture and the options.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AND = 0x54
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32_BIT = 0x40000000
_AF_UNIX = 1
_RLIMIT_CORE = 4
_NEW_NAMESPACES = (
    0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; NEWTIME exists for clone3 and unshare only
)
_MAP_TYPE, _MAP_SHARED, _MAP_ANONYMOUS, _MAP_HUGETLB = 0x0F, 0x01, 0x20, 0x40000
_TERMINAL_IOCTLS = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, TIOCSETD


@dataclass(frozen=True)
class _Machine:
    audit_arch: int
    """AUDIT_ARCH_*: the value of seccomp_data.arch for native calls."""
    numbers: dict[str, int]


# name: (x86_64, aarch64); None: the machine has no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes' memory and descriptors
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # kernel attack surface
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "lookup_dcookie": (212, 18),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # mounts, roots, namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "mount_setattr": (442, 442),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "open_tree_attr": (467, 467),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # memory that neither the limit of /tmp nor that of resident memory covers, and objects that outlive a process
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "vmsplice": (278, 75),
    "shmget": (29, 194),
    "shmctl": (31, 195),
    "shmat": (30, 196),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "io_setup": (206, 0),  # uses a pool shared by the whole host
    # the host itself (programs also have no capability for these)
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    # network (the network namespace also has no interface)
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
}
_DENIED_ON_SHARED_HOST: dict[str, tuple[int | None, int | None]] = {
    # what processes of one user may do to each other regardless of Landlock
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    # changes, invisible to Landlock, to files that others may write to
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
}
_DENIED_METADATA: dict[str, tuple[int | None, int | None]] = {
    # changes to files by path, which Landlock does not see; by descriptor is allowed: Landlock checked its opening
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "file_setattr": (469, 469),
}
_SPECIAL = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "clone": (56, 220),
    "clone3": (435, 435),
    "ioctl": (16, 29),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "mmap": (9, 222),
}
_AUDIT_ARCHS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = tuple(_AUDIT_ARCHS)


def _machine(name: str, denied: dict[str, tuple[int | None, int | None]]) -> _Machine:
    column = MACHINES.index(name)
    numbers = {call: row[column] for call, row in {**denied, **_SPECIAL}.items()}
    return _Machine(
        _AUDIT_ARCHS[name], {call: number for call, number in numbers.items() if number is not None}
    )


def _op(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, k)


def _refuse(error: int) -> bytes:
    return _op(_RETURN, _ERRNO | error)


def _on(number: int, body: Sequence[bytes]) -> list[bytes]:
    """Run `body`, which must end in a return, for this call. Otherwise the number stays loaded for what follows."""
    return [_op(_JUMP_EQUAL, number, 0, len(body)), *body]


def build_filter(
    machine: str, shares_host: bool = False, denies_metadata: bool = False, is_counted: bool = True
) -> bytes:
    """Return the filter as an array of struct sock_filter (8 bytes each).

    Args:
        machine: the architecture, as in `os.uname`.
        shares_host: whether there is no pid namespace; then refuse changes to priorities of other processes, and
            setxattr by path.
        denies_metadata: whether to refuse chmod, chown and utime by path.
        is_counted: whether a control group counts all memory. If not, refuse shared anonymous mappings: their pages
            stay when they are unmapped, and no process shows them. Huge pages, which nothing counts, are always
            refused.

    Calls of another architecture (int 0x80) end the process; x32 calls get ENOSYS; clone3, whose flags a filter
    cannot read, gets ENOSYS so that libc falls back to clone.

    Raises:
        KeyError: there is no call table for this machine.
    """
    if machine not in _AUDIT_ARCHS:
        raise KeyError(machine)
    denied = {
        **_DENIED,
        **(_DENIED_ON_SHARED_HOST if shares_host else {}),
        **(_DENIED_METADATA if denies_metadata else {}),
    }
    target = _machine(machine, denied)
    numbers = dict(target.numbers)
    socket, socketpair = numbers.pop("socket"), numbers.pop("socketpair")
    prlimit, setrlimit, mmap = numbers.pop("prlimit64"), numbers.pop("setrlimit"), numbers.pop("mmap")
    clone, clone3, ioctl = numbers.pop("clone"), numbers.pop("clone3"), numbers.pop("ioctl")
    program = [
        _op(_LOAD, _ARCH),
        _op(_JUMP_EQUAL, target.audit_arch, 1, 0),
        _op(_RETURN, _KILL_PROCESS),
        _op(_LOAD, _NR),
        _op(_JUMP_GREATER_EQUAL, _X32_BIT, 0, 1),
        _refuse(errno.ENOSYS),
    ]
    program += _on(
        clone,
        [
            _op(_LOAD, _ARGUMENTS),
            _op(_JUMP_SET, _NEW_NAMESPACES, 0, 1),
            _refuse(errno.EPERM),
            _op(_RETURN, _ALLOW),
        ],
    )
    program += _on(clone3, [_refuse(errno.ENOSYS)])
    program += _on(socket, [_refuse(errno.EAFNOSUPPORT)])
    program += _on(
        socketpair,
        [
            _op(_LOAD, _ARGUMENTS),
            _op(_JUMP_EQUAL, _AF_UNIX, 1, 0),
            _refuse(errno.EAFNOSUPPORT),
            _op(_RETURN, _ALLOW),
        ],
    )
    # Process 1 has the program's user id: the kernel would let the program set process 1's limits and so end it.
    # The program may read its own core limit but not set it: that limit keeps the host from starting a helper for
    # a crash (`job`).
    limit = [_op(_LOAD, _ARGUMENTS), _op(_JUMP_EQUAL, 0, 1, 0), _refuse(errno.EPERM)]
    limit += [_op(_LOAD, _ARGUMENTS + 8), _op(_JUMP_EQUAL, _RLIMIT_CORE, 1, 0), _op(_RETURN, _ALLOW)]
    for half in (0, 4):
        limit += [_op(_LOAD, _ARGUMENTS + 16 + half), _op(_JUMP_EQUAL, 0, 1, 0), _refuse(errno.EPERM)]
    program += _on(prlimit, [*limit, _op(_RETURN, _ALLOW)])
    core = [_op(_LOAD, _ARGUMENTS), _op(_JUMP_EQUAL, _RLIMIT_CORE, 0, 1), _refuse(errno.EPERM)]
    program += _on(setrlimit, [*core, _op(_RETURN, _ALLOW)])
    flags = [_op(_LOAD, _ARGUMENTS + 24), _op(_JUMP_SET, _MAP_HUGETLB, 0, 1), _refuse(errno.ENOMEM)]
    if not is_counted:
        shared = [_op(_AND, _MAP_TYPE), _op(_JUMP_EQUAL, _MAP_SHARED, 0, 1), _refuse(errno.EPERM)]
        flags += [_op(_JUMP_SET, _MAP_ANONYMOUS, 0, len(shared)), *shared]
    program += _on(mmap, [*flags, _op(_RETURN, _ALLOW)])
    terminal = [_op(_LOAD, _ARGUMENTS + 8)]
    for request in _TERMINAL_IOCTLS:
        terminal += _on(request, [_refuse(errno.EPERM)])
    program += _on(ioctl, [*terminal, _op(_RETURN, _ALLOW)])
    for number in numbers.values():
        program += _on(number, [_refuse(errno.EPERM)])
    program.append(_op(_RETURN, _ALLOW))
    return b"".join(program)
