"""`grpo sandbox run` and `doctor` as a user calls them: whatever the file, the limits or the surroundings."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grpo import cli
from grpo.commands import sandbox as command
from grpo.commands import sandbox_doctor
from rewards.sandbox.errors import SandboxUnavailable
from rewards.sandbox.escapes.suite import Report, Result
from rewards.sandbox.languages import MissingToolchain, find_toolchain
from rewards.sandbox.sandbox import Sandbox
from rewards.sandbox.types import Outcome

ROOT = Path(cli.__file__).resolve().parents[1]
MODULES = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
GRPO = (sys.executable, "-c", "from grpo.cli import main; main()")
FIELDS = {"verdict", "exit_code", "stdout", "stderr", "wall_s", "cpu_s", "max_rss_bytes", "tier"}
TWO_MIB = 2 * 1024 * 1024


@pytest.fixture(scope="module", autouse=True)
def _needs_namespaces() -> None:
    try:
        Sandbox.open().close()
    except SandboxUnavailable as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty directory to call from."""
    made = tmp_path / "caller"
    made.mkdir()
    return made


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": MODULES} | more


def call(
    *arguments: str | bytes, cwd: Path | str = "/", env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*GRPO, "sandbox", *arguments],
        cwd=cwd,
        env=environment() if env is None else env,
        capture_output=True,
        timeout=60,
        **more,
    )


def run(
    program: str | bytes, *options: str, cwd: Path, language: str = "python", stdin: bytes = b""
) -> dict[str, Any]:
    """The JSON of a run that must give one."""
    file = cwd.parent / "program"
    file.write_bytes(program.encode() if isinstance(program, str) else program)
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(
            cli.app, ["sandbox", "run", str(file), "--language", language, "--json", *options], input=stdin
        )
    assert done.exit_code == 0, done.output
    return parsed(done.stdout_bytes)


def parsed(stdout: bytes) -> dict[str, Any]:
    assert stdout.count(b"\n") == 1
    assert len(stdout) <= TWO_MIB
    answer: dict[str, Any] = json.loads(stdout)
    assert answer.keys() >= FIELDS
    return answer


def has(language: str) -> bool:
    try:
        return find_toolchain(language) is not None
    except MissingToolchain:
        return False


# -- verdicts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "program", "options", "verdict", "exit_code"),
    [
        ("python", "print(input())", [], "runtime_error", 1),
        ("python", "raise SystemExit(137)", [], "runtime_error", 137),
        ("python", "import time; time.sleep(99)", ["--time-limit", "0.3"], "time_limit", 137),
        ("python", "x = bytearray(300 << 20)", ["--memory-mb", "64"], "memory_limit", 137),
        ("python", "x = bytearray(int(0.85 * 64 * 2**20) - (12 << 20))", ["--memory-mb", "64"], "ok", 0),
        ("python", "while True: print('x' * 9999)", [], "output_limit", 137),
        ("python", "import os\nwhile True: os.fork()", ["--memory-mb", "8192"], "process_limit", 137),
        ("bash", ":(){ :|:& };:; sleep 9", [], "process_limit", 137),
        ("bash", "exit 3", [], "runtime_error", 3),
        ("c", "int main(void) { return x; }", [], "compile_error", 1),
        ("cobol", "x", [], "unsupported_language", None),
        ("", "x", [], "unsupported_language", None),
        ("Python", "x", [], "unsupported_language", None),
        ("py\nthon[red]\x1b", "x", [], "unsupported_language", None),
    ],
)
def test_each_verdict_has_all_fields(
    place: Path, language: str, program: str, options: list[str], verdict: str, exit_code: int | None
) -> None:
    if language in ("c",) and not has(language):
        pytest.skip(f"no {language} here")
    answer = run(program, *options, cwd=place, language=language)
    assert answer["verdict"] == verdict
    assert answer["exit_code"] in (exit_code, None if verdict.endswith("_limit") else exit_code)
    assert answer["tier"] == "namespaces"
    assert isinstance(answer["wall_s"], float)
    assert isinstance(answer["max_rss_bytes"], int)
    assert list(place.iterdir()) == []


def test_a_host_without_a_sandbox_is_sandbox_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Sandbox:
        raise SandboxUnavailable("no namespaces [here]")

    monkeypatch.setattr(Sandbox, "open", refuse)
    file = tmp_path / "main.py"
    file.write_text("print(1)")
    done = CliRunner().invoke(cli.app, ["sandbox", "run", str(file), "--language", "python", "--json"])
    assert done.exit_code == 1
    answer = parsed(done.stdout.encode())
    assert (answer["verdict"], answer["exit_code"], answer["reason"]) == (
        "sandbox_error",
        None,
        "no namespaces [here]",
    )


def test_a_missing_compiler_is_a_verdict(place: Path) -> None:
    language = next((name for name in ("go", "rust", "java") if not has(name)), None)
    if language is None:
        pytest.skip("all languages are here")
    answer = run("x", cwd=place, language=language)
    assert answer["verdict"] == "unsupported_language"
    assert "on this host" in answer["reason"]


# -- programs and inputs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["-x.py", "a b\n'\"$(id).py", "ünï.txt", "x" * 250, "Main.class", os.fsdecode(b"\xff\xfe")]
)
def test_the_name_of_the_file_does_not_matter(place: Path, name: str) -> None:
    (place / name).write_text("import sys; print(sys.argv, __name__)")
    done = call("run", "--language", "python", "--json", "--", name, cwd=place)
    answer = parsed(done.stdout)
    assert answer["verdict"] == "ok"
    assert "__main__" in answer["stdout"]
    assert [path.name for path in place.iterdir()] == [name]


@pytest.mark.parametrize(
    ("program", "verdict", "stdout"),
    [
        (b"", "ok", ""),
        (b"\xef\xbb\xbfprint('bom')\r\nprint('crlf')\r\n", "ok", "bom\ncrlf\n"),
        (bytes(range(256)), "runtime_error", ""),
        (b"print(1)\0", "runtime_error", ""),
        (b"x = 1\n" * 100_000 + b"print('long')", "ok", "long\n"),
        (b"print('" + b"y" * 100_000 + b"'[:3])", "ok", "yyy\n"),
        (b"print('no newline at the end')", "ok", "no newline at the end\n"),
        (
            "print('é', flush=True); import sys; sys.stdout.buffer.write(b'\\xff\\xfe')".encode(),
            "ok",
            "é\n\ufffd\ufffd",
        ),
    ],
)
def test_odd_programs(place: Path, program: bytes, verdict: str, stdout: str) -> None:
    answer = run(program, cwd=place)
    assert (answer["verdict"], answer["stdout"]) == (verdict, stdout)


@pytest.mark.skipif(not has("java"), reason="no java here")
def test_javas_class_is_main_whatever_the_file(place: Path) -> None:
    program = 'public class Main { public static void main(String[] a) { System.out.println("java"); } }'
    assert run(program, cwd=place, language="java")["stdout"] == "java\n"


def test_stdin_is_the_file_or_nothing(place: Path) -> None:
    program = "import sys; data = sys.stdin.buffer.read(); print(len(data), data[-3:])"
    assert run(program, cwd=place, stdin=b"of the command, not of the program")["stdout"] == "0 b''\n"
    large = place.parent / "large"
    large.write_bytes(b"\xff" * (9 << 20) + b"end")
    assert run(program, "--stdin-file", str(large), cwd=place)["stdout"] == f"{(9 << 20) + 3} b'end'\n"
    assert run("print(1)", "--stdin-file", str(large), cwd=place)["verdict"] == "ok"  # it need not be read


@pytest.mark.parametrize(
    ("language", "program"),
    [
        (
            "python",
            "open('/dev/stdout', 'w').write(open('/dev/stdin').read()); open('/dev/stderr', 'a').write('e')",
        ),
        ("bash", "cat /dev/stdin > /dev/stdout; printf e | tee /dev/stderr > /dev/null"),
    ],
)
def test_standard_streams_have_names(place: Path, language: str, program: str) -> None:
    given = place.parent / "in"
    given.write_text("given")
    answer = run(program, "--stdin-file", str(given), cwd=place, language=language)
    assert (answer["stdout"], answer["stderr"], answer["verdict"]) == ("given", "e", "ok")


def test_64_kib_come_back_whole(place: Path) -> None:
    answer = run(
        "import sys\nprint('é' * 32768, end='')\nprint('x' * 65536, end='', file=sys.stderr)", cwd=place
    )
    assert (answer["stdout"], answer["stderr"]) == ("é" * 32768, "x" * 65536)


@pytest.mark.parametrize("unit", [b"\0", b"\xff", b"\\", "\U0001f600".encode()])
def test_the_answer_stays_below_2_mib(place: Path, unit: bytes) -> None:
    program = f"import os\nfor fd in (1, 2) * 20: os.write(fd, {unit!r} * {16384 // len(unit)})\n"
    answer = run(program, cwd=place)
    assert answer["verdict"] == "output_limit"
    whole = unit.decode(errors="replace")
    for stream in ("stdout", "stderr"):
        assert len(answer[stream]) > 65536 // len(unit)
        assert set(answer[stream]) == {whole}  # no character is cut in two


def test_output_for_people_cannot_steer_the_terminal(place: Path) -> None:
    file = place.parent / "program"
    file.write_text(r"print('\x1b[2J\x1b]0;evil\x07 [red]ok[/] \u202e\u9f8d')")
    done = call("run", str(file), "--language", "python", cwd=place, env=environment(FORCE_COLOR="1"))
    text = done.stdout.decode()
    shown = text[text.index("--- stdout") :]
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"\x1b[2J\x1b]0;evil\x07 [red]ok[/] \u202e龍" in shown
    assert "verdict" in text


# -- wrong usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["--time-limit", "0"],
        ["--time-limit", "-1"],
        ["--time-limit", "nan"],
        ["--time-limit", "inf"],
        ["--time-limit", "1e99"],
        ["--time-limit", "soon"],
        ["--memory-mb", "0"],
        ["--memory-mb", "-5"],
        ["--memory-mb", "1.5"],
        ["--memory-mb", "9" * 30],
        ["--tier", "docker"],
        ["--no-such-option"],
    ],
)
def test_wrong_options_are_one_clear_error(place: Path, options: list[str]) -> None:
    file = place / "main.py"
    file.write_text("print(1)")
    done = CliRunner().invoke(
        cli.app, ["sandbox", "run", str(file), "--language", "python", "--json", *options]
    )
    assert done.exit_code == 2
    assert done.stdout == ""
    assert options[0].lstrip("-") in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("time_limit", "memory"), [("0.000001", "512"), ("1000000", "1073741824"), ("10", "1")]
)
def test_extreme_limits_are_verdicts(place: Path, time_limit: str, memory: str) -> None:
    # Memory is read every few milliseconds: a program that ends sooner may have had more.
    program = "import time; time.sleep(0.5); print(1)"
    answer = run(program, "--time-limit", time_limit, "--memory-mb", memory, cwd=place)
    assert answer["verdict"] == {"0.000001": "time_limit", "1000000": "ok", "10": "memory_limit"}[time_limit]


@pytest.mark.parametrize("which", ["program", "stdin"])
@pytest.mark.parametrize("kind", ["missing", "folder", "loop", "too long"])
def test_a_file_that_cannot_be_read_is_an_error(place: Path, which: str, kind: str) -> None:
    (place / "main.py").write_text("print(1)")
    (place / "loop").symlink_to("loop")
    path = {"missing": "not\n[there]", "folder": ".", "loop": "loop", "too long": "x" * 5000}[kind]
    arguments = [path] if which == "program" else ["main.py", "--stdin-file", path]
    done = call("run", *arguments, "--language", "python", "--json", cwd=place)
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"cannot read the " + (b"program" if which == "program" else b"input") in done.stderr
    assert b"Traceback" not in done.stderr
    if kind == "missing":
        assert rb"'not\n[there]'" in done.stderr


def test_too_large_a_program_is_an_error(place: Path) -> None:
    done = call("run", "/dev/zero", "--language", "python", "--json", cwd=place)
    assert done.returncode == 1
    assert b"larger than 16 MiB" in done.stderr


# -- surroundings ------------------------------------------------------------------------------------------------------

PRINTS = "import os; print(sorted(os.environ), os.getcwd(), os.listdir('.'))"


def surroundings(place: Path) -> Iterator[tuple[str, Path | str, dict[str, str]]]:
    yield "no environment", place, {"PYTHONPATH": MODULES}
    yield "no home", place, environment(HOME="/nonexistent")
    yield "a temporary folder that is not there", place, environment(TMPDIR="/nonexistent")
    yield (
        "a temporary folder that is odd",
        place,
        environment(TMPDIR="-x \n", LANG="C", PYTHONIOENCODING="ascii"),
    )
    yield "another language and a secret", place, environment(LC_ALL="tr_TR", PYTHONHASHSEED="7", SECRET="x")
    yield (
        "variables of Python and the loader",
        place,
        environment(
            PYTHONWARNINGS="error", PYTHONINSPECT="", LD_BIND_NOW="1", MALLOC_ARENA_MAX="1", COLUMNS="1"
        ),
    )


def test_surroundings_do_not_matter(place: Path) -> None:
    expected = run(PRINTS, cwd=place)["stdout"]
    assert "SECRET" not in expected
    file = str(place.parent / "program")
    for name, cwd, env in surroundings(place):
        done = call("run", file, "--language", "python", "--json", cwd=cwd, env=env)
        assert done.returncode == 0, (name, done.stderr)
        assert parsed(done.stdout)["stdout"] == expected, name


def test_a_working_directory_that_is_closed_or_gone(place: Path) -> None:
    file = place.parent / "main.py"
    file.write_text("print(1)")
    arguments = ["sandbox", "run", str(file), "--language", "python", "--json"]
    for prepare in ('chmod 555 "$PWD"', 'rmdir "$PWD"'):
        done = subprocess.run(
            ["sh", "-c", f'{prepare} && "$@"', "sh", *GRPO, *arguments],
            cwd=place,
            env=environment(),
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert parsed(done.stdout)["stdout"] == "1\n"


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("| head -c 0", None), (">&-", 1), ("> /dev/full", 1), ("<&- 2>&-", 0), ("<&- >&- 2>&-", 1)],
)
def test_closed_streams(place: Path, redirection: str, code: int | None) -> None:
    file = place.parent / "main.py"
    file.write_text("print('x' * 100_000)")
    script = f'"$@" {redirection}'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *GRPO, "sandbox", "run", str(file), "--language", "python", "--json"],
        cwd=place,
        env=environment(),
        capture_output=True,
        timeout=60,
    )
    assert code is None or done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if redirection == "<&- 2>&-":
        assert parsed(done.stdout)["verdict"] == "ok"


def launchers_of(owner: int) -> list[int]:
    """Processes that a call started to run programs: the owner's id is their last argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 3 and words[-4].endswith(b"child/zygote.py") and words[-2] == str(owner).encode():
            found.append(int(path.parent.name))
    return found


def wait_for(condition: Any) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to pass")


def heed_signals() -> None:
    """In the child: a background shell and nohup hand on that SIGINT and SIGHUP are ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_an_interrupted_call_leaves_nothing(place: Path, number: signal.Signals) -> None:
    file = place.parent / "main.py"
    file.write_text("import os, time\nfor _ in range(3): os.fork()\ntime.sleep(60)")
    with subprocess.Popen(
        [*GRPO, "sandbox", "run", str(file), "--language", "python", "--json", "--time-limit", "60"],
        cwd=place,
        env=environment(TMPDIR=str(place)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
    ) as process:
        wait_for(lambda: launchers_of(process.pid))
        threading.Event().wait(0.3)
        launchers = launchers_of(process.pid)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)
    assert stdout == b""
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert b"Traceback" not in stderr
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in launchers))
    assert list(place.iterdir()) == []


def test_several_at_once(place: Path) -> None:
    file = place.parent / "main.py"
    file.write_text(
        "import sys, os; open('x', 'w').write(sys.stdin.read()); print(open('x').read(), os.listdir('.'))"
    )

    def one(number: int) -> str:
        given = place.parent / f"in{number}"
        given.write_text(str(number))
        done = call("run", str(file), "--language", "python", "--json", "--stdin-file", str(given), cwd=place)
        return str(parsed(done.stdout)["stdout"])

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(one, range(5)))
    assert all(text.startswith(f"{number} ") for number, text in enumerate(seen))
    assert list(place.iterdir()) == []


def test_nothing_heavy_is_loaded(place: Path) -> None:
    file = place / "main.py"
    file.write_text("print(1)")
    code = (
        "import sys\nfrom grpo.cli import app\n"
        f"try:\n    app(['sandbox', 'run', {str(file)!r}, '--language', 'python', '--json'])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'torch', 'ray', 'vllm', 'transformers', 'numpy', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, timeout=60, check=True)
    assert done.stdout.splitlines()[1] == b"[]"


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_doctor_runs_hostile_programs_and_says_what_holds(place: Path) -> None:
    done = call("doctor", "--category", "imitations", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is True
    assert answer["tier"] == "namespaces"
    assert answer["guarantees"]
    assert answer["gaps"]
    assert answer["suite"]["failed"] == 0
    assert answer["suite"]["passed"] == len(answer["suite"]["cases"]) >= 9
    assert answer["languages"]["python"]["found"]
    assert answer["languages"].keys() == {"python", "c", "cpp", "javascript", "java", "rust", "go", "bash"}
    assert list(place.iterdir()) == []


def test_doctor_knows_its_categories() -> None:
    done = CliRunner().invoke(cli.app, ["sandbox", "doctor", "--category", "astrology"])
    assert done.exit_code == 2
    assert "network" in done.stderr


def report(*results: Result) -> Report:
    return Report(results, 1.5)


def test_doctor_fails_on_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Result("tcp", "network", "python", "passed", (), "ok", 0.1)
    out = replace(held, name="udp", status="failed", problems=("ESCAPED \x1b[2J [red]x[/]",))
    for results, code in (((held,), 0), ((held, out), 1), ((replace(out, status="gap"),), 0)):
        monkeypatch.setattr(sandbox_doctor, "run_suite", lambda *_, results=results, **__: report(*results))
        done = CliRunner().invoke(cli.app, ["sandbox", "doctor"])
        assert done.exit_code == code, done.output
        assert "host files" in done.stdout
        assert "\x1b" not in done.stdout
        assert ("1 failed" in done.stdout) == (code == 1)
        assert ("[red]x[/]" in done.stdout) == (out.problems in {result.problems for result in results})
        done = CliRunner().invoke(cli.app, ["sandbox", "doctor", "--json"])
        assert done.exit_code == code
        assert json.loads(done.stdout)["ok"] == (code == 0)


def test_doctor_of_a_host_without_a_sandbox_names_what_would_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: Any = None, *_: object) -> Any:
        if settings and settings.tier == "landlock":
            return type("Works", (), {"close": lambda self: None})()
        raise SandboxUnavailable("user namespaces are off; hint: sysctl")

    monkeypatch.setattr(Sandbox, "open", refuse)
    done = CliRunner().invoke(cli.app, ["sandbox", "doctor"])
    assert done.exit_code == 1
    assert "hint: sysctl" in done.stdout
    assert "--tier landlock" in done.stdout
    answer = json.loads(CliRunner().invoke(cli.app, ["sandbox", "doctor", "--json"]).stdout)
    assert (answer["ok"], answer["tier"], answer["weaker_tiers"]) == (False, None, ["landlock"])


def test_text_of_an_outcome_names_all() -> None:
    outcome = Outcome(
        "time_limit", "ran longer than 1 s", 137, b"out", b"err", 1.0, 0.5, 3 << 20, "namespaces"
    )
    text = command.as_text(outcome)
    for word in (
        "time_limit",
        "ran longer",
        "137",
        "1.000 s",
        "0.500 s",
        "3.0 MiB",
        "namespaces",
        "out",
        "err",
    ):
        assert word in text
