"""The system-call filter, run by a small interpreter of classic BPF that knows nothing of how it was made."""

from __future__ import annotations

import struct

import pytest

from rewards.sandbox.seccomp import MACHINES, build_filter

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
ARCHS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97


def decide(program, number, arguments=(), arch=ARCHS["x86_64"]):
    """What the kernel would answer (Documentation/networking/filter.rst): struct seccomp_data in, action out."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(list(arguments) + [0] * 6)[:6])
    accumulator = at = 0
    while True:
        code, if_true, if_false, k = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, k)[0]
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x45:
                at += if_true if accumulator & k else if_false
            case 0x54:
                accumulator &= k
            case 0x06:
                return k
            case _:
                raise AssertionError(f"no such instruction {code:#x}")


@pytest.fixture(params=MACHINES)
def machine(request):
    return request.param


def test_reading_writing_and_ending_are_allowed():
    program = build_filter("x86_64")
    for number in (0, 1, 3, 9, 12, 39, 57, 59, 60, 62, 202, 231, 257):
        assert decide(program, number) == ALLOW
    program = build_filter("aarch64")
    for number in (63, 64, 57, 222, 214, 93, 94, 129, 221, 56):
        assert decide(program, number, arch=ARCHS["aarch64"]) == ALLOW


@pytest.mark.parametrize(
    "number",
    [
        101,
        310,
        311,
        312,
        438,
        425,
        426,
        427,
        248,
        250,
        321,
        298,
        323,
        165,
        166,
        161,
        155,
        272,
        308,
        304,
        135,
        319,
        29,
    ],
)
def test_what_only_escapes_need_is_refused(number):
    assert decide(build_filter("x86_64"), number) == ERRNO | EPERM


def test_other_architectures_end_the_process(machine):
    program = build_filter(machine)
    for arch in (0x40000003, 0x40000028, 0, *(a for name, a in ARCHS.items() if name != machine)):
        assert decide(program, 1, arch=arch) == KILL


def test_x32_calls_do_not_exist():
    program = build_filter("x86_64")
    for number in (0, 1, 41, 101, 520, 0x1FF):
        assert decide(program, 0x40000000 | number) == ERRNO | ENOSYS


def test_sockets_are_pairs_of_unix_sockets_alone():
    program = build_filter("x86_64")
    for family in (*range(47), 0xFFFFFFFF):
        assert decide(program, 41, (family, 1)) == ERRNO | EAFNOSUPPORT
        expected = ALLOW if family == 1 else ERRNO | EAFNOSUPPORT
        assert decide(program, 53, (family, 1)) == expected
    for number in (42, 49, 50, 43, 288):
        assert decide(program, number) == ERRNO | EPERM


def test_clone_makes_threads_and_processes_but_no_namespaces():
    program = build_filter("x86_64")
    assert decide(program, 56, (0x3D0F00,)) == ALLOW  # pthread_create of glibc
    assert decide(program, 56, (0x1200011,)) == ALLOW  # fork of glibc
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert decide(program, 56, (flag | 17,)) == ERRNO | EPERM
    assert decide(program, 435) == ERRNO | ENOSYS


def test_terminals_are_not_typed_into():
    program = build_filter("x86_64")
    for request in (0x5412, 0x541C):
        assert decide(program, 16, (0, request)) == ERRNO | EPERM
        assert (
            decide(program, 16, (0, 0xFFFFFFFF00000000 | request)) == ERRNO | EPERM
        )  # the kernel reads 32 bits
    assert decide(program, 16, (0, 0x5401)) == ALLOW


def test_limits_of_other_processes_are_not_set():
    program = build_filter("x86_64")
    assert decide(program, 302, (0,)) == ALLOW
    assert decide(program, 302, (1,)) == ERRNO | EPERM
    for pointer in (1, 1 << 40):
        assert decide(program, 302, (0, 4, pointer)) == ERRNO | EPERM  # the core limit
        assert decide(program, 302, (0, 7, pointer)) == ALLOW
    assert decide(program, 302, (0, 4, 0)) == ALLOW  # to read it
    assert decide(program, 160, (4, 1)) == ERRNO | EPERM
    assert decide(program, 160, (7, 1)) == ALLOW
    for number in (141, 203, 314):
        assert decide(program, number, (1,)) == ALLOW
        assert decide(build_filter("x86_64", shares_host=True), number, (1,)) == ERRNO | EPERM


def test_every_number_has_an_answer(machine):
    for shares_host in (False, True):
        program = build_filter(machine, shares_host, denies_metadata=shares_host)
        assert len(program) % 8 == 0
        assert len(program) // 8 <= 4096
        for number in range(600):
            answer = decide(program, number, arch=ARCHS[machine])
            assert answer == ALLOW or answer & 0xFFFF0000 == ERRNO


def test_unknown_machines_have_none():
    with pytest.raises(KeyError):
        build_filter("s390x")
