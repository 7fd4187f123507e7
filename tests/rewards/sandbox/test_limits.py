"""What an honest program may use, whole; and where the bounds are."""

from __future__ import annotations

import pytest

from rewards.sandbox.types import MIB, Limits


def test_64_kib_of_output_come_back_whole(any_tier):
    source = "import sys\nsys.stdout.write('o' * 65536)\nsys.stderr.write('e' * 65536)"
    outcome = any_tier.run("python", source)
    assert outcome.verdict == "ok"
    assert outcome.stdout == b"o" * 65536
    assert outcome.stderr == b"e" * 65536


def test_output_is_cut_at_exactly_the_cap(sandbox):
    limits = Limits(output_bytes=1000)
    assert sandbox.run("python", "print('x' * 999)", limits=limits).verdict == "ok"
    outcome = sandbox.run("python", "print('x' * 1000)", limits=limits)
    assert outcome.verdict == "output_limit"
    assert outcome.stdout == b"x" * 1000


def test_output_of_any_bytes_comes_back_as_it_is(sandbox):
    everything = bytes(range(256)) * 4
    outcome = sandbox.run("python", f"import os; os.write(1, {everything!r}); os.write(2, {everything!r})")
    assert outcome.stdout == outcome.stderr == everything


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_most_of_the_memory_fits_into_one_array(any_tier, share):
    limits = Limits(memory_bytes=128 * MIB)
    outcome = any_tier.run("python", f"print(len(bytearray(int({share} * 128 * 2**20))))", limits=limits)
    assert outcome.verdict == "ok", outcome


def test_address_space_is_not_memory(any_tier):
    source = "import mmap\nm = mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE)\nprint(len(m))"
    assert any_tier.run("python", source, limits=Limits(memory_bytes=64 * MIB)).verdict == "ok"


def test_pages_that_processes_share_count_once(any_tier):
    source = (
        "import os, time\n"
        "x = bytearray(60 << 20)\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0: time.sleep(0.3); os._exit(0)\n"
        "for _ in range(5): os.wait()\n"
        "print('shared')"
    )
    outcome = any_tier.run("python", source, limits=Limits(memory_bytes=128 * MIB, wall_s=30))
    assert (outcome.verdict, outcome.stdout) == ("ok", b"shared\n"), outcome


def test_files_in_memory_are_bounded(sandbox):
    source = (
        "n = 0\ntry:\n"
        "    with open('/tmp/f', 'wb', buffering=0) as f:\n"
        "        while n < 1 << 30: n += f.write(bytes(1 << 20))\n"
        "except OSError as error: print(error.errno)\n"
        "print(n >> 20)"
    )
    outcome = sandbox.run("python", source, limits=Limits(tmp_bytes=20 * MIB))
    assert outcome.verdict in ("ok", "runtime_error")
    assert int(outcome.stdout.split()[-1]) <= 20


def test_inodes_are_bounded(sandbox):
    source = (
        "n = 0\ntry:\n    while n < 100000: open(f'/tmp/{n}', 'w').close(); n += 1\n"
        "except OSError as error: print(error)\nprint(n)"
    )
    outcome = sandbox.run("python", source, limits=Limits(wall_s=60))
    assert outcome.verdict == "ok"
    assert int(outcome.stdout.split()[-1]) < 20000


def test_a_filled_work_directory_ends_the_run_or_is_refused(any_tier):
    source = (
        "import time\n"
        "with open('f', 'wb', buffering=0) as f:\n"
        "    for _ in range(64): f.write(bytes(1 << 20))\n"
        "for n in range(40):\n"
        "    with open(f'g{n}', 'wb', buffering=0) as f: f.write(bytes(1 << 20))\n"
        "    time.sleep(0.05)"
    )
    outcome = any_tier.run("python", source, limits=Limits(tmp_bytes=16 * MIB, wall_s=60))
    assert outcome.verdict == "runtime_error"


def test_the_work_directory_and_tmp_hold_16_mib(any_tier):
    source = (
        "import os, tempfile\n"
        "assert os.access('.', os.W_OK)\n"
        "for name in ('here', os.path.join(tempfile.gettempdir(), 'there')):\n"
        "    with open(name, 'wb') as f: f.write(bytes(8 << 20))\n"
        "    assert os.path.getsize(name) == 8 << 20\n"
        "    os.remove(name)\n"
        "os.mkdir('d'); print(os.listdir('.'))"
    )
    outcome = any_tier.run("python", source, limits=Limits(tmp_bytes=17 * MIB))
    assert outcome.verdict == "ok", outcome


def test_128_tasks_are_to_be_had(any_tier):
    threads = (
        "import threading\nb = threading.Barrier(128)\n"
        "ts = [threading.Thread(target=b.wait) for _ in range(127)]\n"
        "for t in ts: t.start()\nb.wait()\nprint(len(ts))"
    )
    outcome = any_tier.run("python", threads, limits=Limits(tasks=128, wall_s=60))
    assert (outcome.verdict, outcome.stdout) == ("ok", b"127\n"), outcome
    children = (
        "import os, time\nread, write = os.pipe()\n"
        "for _ in range(120):\n    if os.fork() == 0: os.read(read, 1); os._exit(0)\n"
        "time.sleep(0.1)\nos.write(write, b'x' * 120)\n"
        "for _ in range(120): os.wait()\nprint('all')"
    )
    outcome = any_tier.run("python", children, limits=Limits(tasks=128, wall_s=60))
    assert (outcome.verdict, outcome.stdout) == ("ok", b"all\n"), outcome


def test_open_files_are_bounded(any_tier):
    source = (
        "import os\nn = 0\ntry:\n    while True: os.dup(0); n += 1\nexcept OSError as e: print(e.errno)\n"
        "import resource\ntry: resource.setrlimit(resource.RLIMIT_NOFILE, (999, 999))\n"
        "except ValueError: print('refused')\nprint(n < 64)"
    )
    outcome = any_tier.run("python", source, limits=Limits(open_files=64))
    assert outcome.stdout == b"24\nrefused\nTrue\n"


def test_input_is_read_or_not_as_the_program_likes(any_tier):
    big = bytes(range(256)) * (1 << 14)
    count = any_tier.run("python", "import sys; print(len(sys.stdin.buffer.read()))", big)
    assert count.stdout == b"%d\n" % len(big)
    assert any_tier.run("python", "print('no')", big).stdout == b"no\n"
    assert any_tier.run("python", "import sys; print(repr(sys.stdin.read()))").stdout == b"''\n"
    twice = "import os; os.lseek(0, 0, 0); print(os.read(0, 9)); os.lseek(0, 0, 0); print(os.read(0, 9))"
    assert any_tier.run("python", twice, b"again").stdout == b"b'again'\nb'again'\n"


def test_input_cannot_be_changed(any_tier):
    source = (
        "import os\n"
        "for flags in (os.O_WRONLY, os.O_RDWR):\n"
        "    try: os.write(os.open('/proc/self/fd/0', flags), b'x'); print('written')\n"
        "    except OSError: print('refused')\n"
        "try: os.write(0, b'x'); print('written')\nexcept OSError: print('refused')"
    )
    assert any_tier.run("python", source, b"input").stdout == b"refused\n" * 3


def test_what_is_left_of_the_total_time_bounds_each_run(sandbox):
    limits = Limits(wall_s=5)
    outcomes = sandbox.run_many("python", "import time; time.sleep(0.5)", [b""] * 4, limits, total_wall_s=0.8)
    assert [outcome.verdict for outcome in outcomes] == ["ok", "time_limit", "time_limit", "time_limit"]
    assert outcomes[3].exit_code is None


NAMED_STREAMS = {
    "python": "t = open('/dev/stdin').read()\nopen('/dev/stdout', 'w').write(t)\nopen('/dev/stderr', 'w').write('e')",
    "bash": "cat /dev/stdin > /dev/stdout; printf e > /dev/stderr",
    "javascript": "const fs = require('fs'); fs.writeFileSync('/dev/stdout', fs.readFileSync('/dev/stdin', 'utf8'));"
    "fs.writeFileSync('/dev/stderr', 'e')",
}


@pytest.mark.parametrize("language", NAMED_STREAMS)
def test_standard_streams_have_names(sandbox, need, language):
    need(language)
    outcome = sandbox.run(language, NAMED_STREAMS[language], b"a\nb\n")
    assert (outcome.verdict, outcome.stdout, outcome.stderr) == ("ok", b"a\nb\n", b"e"), outcome


@pytest.mark.parametrize(
    "name", ["wall_s", "memory_bytes", "tmp_bytes", "tasks", "output_bytes", "open_files"]
)
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_limits_are_above_zero_and_finite(name, value):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


def test_a_large_program_does_not_use_up_its_tmp(any_tier, need):
    need("c")
    source = (
        'char x[24 << 20] = {1};\n#include <stdio.h>\nint main(void) { printf("%d\\n", x[0] + x[9999999]); }'
    )
    outcome = any_tier.run("c", source, limits=Limits(tmp_bytes=16 * MIB))
    assert (outcome.verdict, outcome.stdout) == ("ok", b"1\n"), outcome
    source = "#" * (20 * MIB) + "\nprint(1)"
    assert any_tier.run("python", source, limits=Limits(tmp_bytes=16 * MIB)).stdout == b"1\n"
