"""A Python program ends in the sandbox as it ends without one: output, exit code, and what it says at the end.

The oracle is a bare interpreter; the sandbox leaves out the interpreter's own tearing down (`child_program._exit`).
"""

from __future__ import annotations

import subprocess

import pytest

from rewards.sandbox.launcher import python_path
from rewards.sandbox.types import Limits

PROGRAMS = {
    "nothing": "",
    "unflushed": "import sys; sys.stdout.write('a'); sys.stderr.write('b')",
    "exit functions": "import atexit\nfor i in range(3): atexit.register(print, i)\nprint('main')",
    "an exit function that raises": "import atexit\natexit.register(print, 'last')\natexit.register(lambda: 1 / 0)",
    "an exit function of an exit function": (
        "import atexit\natexit.register(lambda: atexit.register(print, 'inner'))\nprint('main')"
    ),
    "a thread that outlives main": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\nprint('main')"
    ),
    "a daemon thread": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(60), print('never')), daemon=True).start()\nprint('main')"
    ),
    "a thread that raises": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()",
    "a pool": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(2)\nf = pool.submit(lambda: print('task'))"
    ),
    "a last word": (
        "names = {'x': 1}\n"
        "class Last:\n    def __init__(self, n): self.n = n\n    def __del__(self): print('end of', self.n, names)\n"
        "a = Last(1)\nkept = [Last(2)]\nprint('main')"
    ),
    "last words of a circle": (
        "class Node:\n    def __del__(self): print('gone')\na, b = Node(), Node()\na.other, b.other = b, a\n"
        "del a, b\nprint('main')"
    ),
    "a generator left open": (
        "def g():\n    try:\n        yield 1\n    finally:\n        print('closed')\nopened = g(); print(next(opened))"
    ),
    "a finalizer": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')\nprint('main')",
    "a file left open": (
        "import os\n"
        "if os.fork() == 0:\n    left = open('/tmp/left', 'w'); left.write('written')\n"
        "else:\n    os.wait(); print(repr(open('/tmp/left').read())); os.remove('/tmp/left')"
    ),
    "stdout replaced": (
        "import io, sys\nsys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w', closefd=False), 1 << 16))\n"
        "print('through a buffer of its own')"
    ),
    "stdout replaced, the old one used": (
        "import io, sys\nold = sys.stdout\nsys.stdout = io.StringIO()\nprint('lost')\nold.write('kept')"
    ),
    "stdout taken away": "import sys\nprint('before')\nsys.stdout = None",
    "stdout closed": "import sys\nprint('before')\nsys.stdout.close()",
    "stdout's descriptor closed": "import os\nprint('cannot be written')\nos.close(1)",
    "stderr's descriptor closed": "import os, sys\nsys.stderr.write('x')\nos.close(2)\nprint('fine')",
    "a hook of its own": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\n1 / 0",
    "uncaught": "def f(): return [] [0]\nprint('a')\nf()",
    "uncaught group": "raise ExceptionGroup('both', [ValueError(1), KeyError(2)])",
    "a syntax error": "print('never')\nif:",
    "bytes that are no text": "import sys\nsys.stdout.buffer.write(b'\\xff\\x00')",
    "exit in a finally": "import sys\ntry:\n    1 / 0\nfinally:\n    sys.exit(4)",
    "exit in a thread": "import sys, threading\nthreading.Thread(target=lambda: sys.exit(3)).start()\nprint('main')",
    "a fork that falls through": "import os\npid = os.fork()\nif pid: os.wait()\nprint('parent' if pid else 'child')",
    "processes": (
        "import multiprocessing as m\n"
        "def f(q): q.put(7)\n"
        "q = m.get_context('fork').SimpleQueue()\np = m.get_context('fork').Process(target=f, args=(q,))\n"
        "p.start(); print(q.get()); p.join(); print(p.exitcode)"
    ),
    "asyncio": "import asyncio\nasync def f(): await asyncio.sleep(0.01); print('done')\nasyncio.run(f())",
    "a main module replaced": "import sys\nsys.modules['__main__'] = 5\nprint('a')",
    "no modules left": "import sys\nsys.modules.clear()\nprint('a')",
    "the main module held elsewhere": (
        "import sys, json\nclass Last:\n    def __del__(self): print('end')\n"
        "json.kept = sys.modules['__main__']\nlast = Last()\nprint('main')"
    ),
    "the module found by name": "import sys\nx = 5\nprint(sys.modules['__main__'].x, __name__)",
} | {
    f"exit {code}": f"import sys\nprint('x')\nsys.exit({code})"
    for code in ("", "None", "0", "3", "-1", "256", "True", "2**70", "-2**70", "'why'", "(1, 2)", "1.5", "[]")
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_ends_as_without_a_sandbox(sandbox, tmp_path, name):
    file = tmp_path / "main.py"
    file.write_text(PROGRAMS[name])
    bare = subprocess.run(
        [python_path(), "-I", str(file)], stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path, timeout=60
    )  # fmt: skip
    found = sandbox.run("python", PROGRAMS[name], limits=Limits(wall_s=30))
    assert found.verdict == ("ok" if bare.returncode == 0 else "runtime_error"), found
    assert (found.stdout, found.exit_code) == (bare.stdout, bare.returncode), found
    reports = [
        text.replace(str(file).encode(), b"/tmp/main.py").splitlines() for text in (bare.stderr, found.stderr)
    ]
    assert _gist(reports[1]) == _gist(reports[0])


def _gist(lines):
    """What is said, but for addresses and frames, which lie in other files of the standard library or in none."""
    return [
        line for line in lines if line and not line.startswith((b" ", b"Exception ignored", b"Traceback"))
    ]
