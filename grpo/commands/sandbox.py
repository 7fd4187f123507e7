"""`grpo sandbox`: runs one program in the sandbox, or reports what the sandbox of this host guarantees."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from policies.json_types import JsonDict

if TYPE_CHECKING:
    from rewards.sandbox.settings import SandboxSettings
    from rewards.sandbox.types import Limits, Outcome

sandbox_app = typer.Typer(
    no_args_is_help=True, help="The sandbox of model-written programs: run one in it, test it on this host."
)

OUTPUT_BYTES = 160 * 1024
"""Cap of stdout and of stderr in bytes: at 6 JSON characters per byte, both together stay below 2 MiB."""
TASKS = 144
"""A little more than 128 processes and threads; few enough that a fork bomb meets this limit before the memory
limit."""
OPEN_FILES = 1024
MAX_SOURCE_BYTES = 16 * 1024 * 1024
MAX_STDIN_BYTES = 1024 * 1024 * 1024
MAX_TIME_S = 1_000_000.0
MAX_MEMORY_MB = 1 << 30
Tier = Annotated[
    str,
    typer.Option(
        help="`auto`: namespaces or an error. `landlock` and `unisolated` isolate less, and hold only if named."
    ),
]


@sandbox_app.command(
    "run", epilog="Example: `grpo sandbox run main.py --language python --stdin-file in.txt --json`"
)
def sandbox_run(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The program. Its name does not matter.")],
    language: Annotated[
        str, typer.Option(help="python, c, cpp, javascript, java (class Main), rust, go or bash.")
    ],
    stdin_file: Annotated[
        str | None, typer.Option(metavar="F", help="What the program reads on stdin; nothing if not given.")
    ] = None,
    time_limit: Annotated[
        float, typer.Option(metavar="S", help="Seconds of wall time; compilation has its own 30.")
    ] = 10.0,
    memory_mb: Annotated[
        int, typer.Option(metavar="M", help="MiB of resident memory of all its processes together.")
    ] = 512,
    tier: Tier = "auto",
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Compile and run one program in isolation.

    Exit code 0 for every verdict on the program; 1 if the sandbox itself failed (`sandbox_error`) or a file cannot be
    read; 2 for wrong usage.
    """
    _open_standard_streams()
    if not 0 < time_limit <= MAX_TIME_S:  # rejects NaN too
        raise typer.BadParameter(
            f"{time_limit:g} is not above 0 and at most {MAX_TIME_S:,.0f} s", param_hint="--time-limit"
        )
    if not 0 < memory_mb <= MAX_MEMORY_MB:
        raise typer.BadParameter(
            f"{memory_mb} is not above 0 and at most {MAX_MEMORY_MB} MiB", param_hint="--memory-mb"
        )
    settings = _settings(tier)
    source = _read(file, "the program", MAX_SOURCE_BYTES)
    stdin = b"" if stdin_file is None else _read(stdin_file, "the input", MAX_STDIN_BYTES)
    from rewards.sandbox.types import MIB, Limits

    limits = Limits(
        time_limit,
        memory_bytes=memory_mb * MIB,
        tasks=TASKS,
        output_bytes=OUTPUT_BYTES,
        open_files=OPEN_FILES,
    )
    outcome = _run(settings, language, source, stdin, limits)
    _print(json.dumps(as_json(outcome), allow_nan=False) if json_ else as_text(outcome))
    raise typer.Exit(1 if outcome.verdict == "sandbox_error" else 0)


@sandbox_app.command("doctor", epilog="Example: `grpo sandbox doctor --json`")
def sandbox_doctor(
    tier: Tier = "auto",
    category: Annotated[
        list[str] | None,
        typer.Option(help="Only hostile programs of this category, e.g. `network`. Repeatable."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """What isolates programs on this host, what that guarantees and what not; then hostile programs try to get out.

    Exit code 1 if one of them did, or if there is no sandbox on this host.
    """
    _open_standard_streams()
    settings = _settings(tier)
    from grpo.commands import sandbox_doctor as doctor

    unknown = sorted(set(category or []) - set(doctor.categories()))
    if unknown:
        raise typer.BadParameter(
            f"no category {unknown[0]!r}; there are {', '.join(doctor.categories())}", param_hint="--category"
        )
    diagnosis = doctor.diagnose(settings, category, show_progress=not json_)
    _print(json.dumps(doctor.as_json(diagnosis), allow_nan=False) if json_ else doctor.as_text(diagnosis))
    raise typer.Exit(0 if diagnosis.ok else 1)


def as_json(outcome: Outcome) -> JsonDict:
    """Return all fields of a verdict; the outputs as text, with U+FFFD for bytes that are not UTF-8."""
    return {
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "stdout": _decode(outcome.stdout),
        "stderr": _decode(outcome.stderr),
        "wall_s": round(outcome.wall_s, 6),
        "cpu_s": round(outcome.cpu_s, 6),
        "max_rss_bytes": outcome.max_rss_bytes,
        "tier": outcome.tier,
    }


def as_text(outcome: Outcome) -> str:
    """Return a verdict as text for a reader. Control characters of the program's output do not reach the terminal."""
    from rich.table import Table
    from rich.text import Text

    colour = {"ok": "green", "sandbox_error": "bold red"}.get(outcome.verdict, "yellow")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("verdict", Text(outcome.verdict, colour))
    rows = {
        "reason": outcome.reason,
        "exit code": "-" if outcome.exit_code is None else str(outcome.exit_code),
        "wall time": f"{outcome.wall_s:.3f} s",
        "CPU time": f"{outcome.cpu_s:.3f} s",
        "memory": f"{outcome.max_rss_bytes / 1024**2:.1f} MiB",
        "tier": outcome.tier,
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(_visible(value)))
    parts = [rendered(table)]
    for name, output in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
        if output:
            parts.append(f"--- {name}\n{_visible(_decode(output))}")
    return "\n".join(part.rstrip("\n") for part in parts)


def rendered(*parts: object) -> str:
    """Tables and text as they look on this terminal; without colour if stdout is none."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def _run(settings: SandboxSettings, language: str, source: bytes, stdin: bytes, limits: Limits) -> Outcome:
    from rewards.sandbox.errors import SandboxUnavailable
    from rewards.sandbox.sandbox import Sandbox
    from rewards.sandbox.types import Outcome

    try:
        with Sandbox.open(settings) as sandbox:
            return sandbox.run(language, source, stdin, limits)
    except SandboxUnavailable as error:
        tier = "namespaces" if settings.tier == "auto" else settings.tier
        return Outcome("sandbox_error", str(error), None, b"", b"", 0.0, 0.0, 0, tier)


def _settings(tier: str) -> SandboxSettings:
    from rewards.sandbox.settings import SandboxSettings, TierName

    names = ("auto", *get_args(TierName))
    if tier not in names:
        raise typer.BadParameter(f"{tier!r} is none of {', '.join(names)}", param_hint="--tier")
    return SandboxSettings.model_validate({"tier": tier})


def _read(path: str, what: str, most: int) -> bytes:
    """Return the contents of a file or pipe. Raises OSError or ValueError with a printable form of the name."""
    content = bytearray()
    try:
        with open(path, "rb", buffering=0) as file:
            while part := file.read(1 << 20):
                content += part
                if len(content) > most:
                    raise ValueError(f"{what} {path!a} is larger than {most // 1024**2} MiB")
    except OSError as error:
        raise OSError(f"cannot read {what} {path!a}: {error.strerror}") from error
    return bytes(content)


def _decode(output: bytes) -> str:
    """Decode output as text; output cut at the cap loses a character that was cut in two."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode(output, final=len(output) < OUTPUT_BYTES)


def _visible(text: str) -> str:
    """Escape characters that would move the cursor, colour or retitle a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _open_standard_streams() -> None:
    """Open closed standard streams on /dev/null, so that no file opened later gets their descriptors."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor


def _print(text: str) -> None:
    if sys.stdout is None:
        raise OSError("stdout is closed: nowhere to print the result")
    with contextlib.suppress(AttributeError):  # not a real stream
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        typer.echo(text)
    except OSError as error:
        # Flushing the buffer again when Python exits would fail again, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):  # the reader closed the pipe early
            raise typer.Exit(1) from error
        raise OSError(f"cannot print the result: {error.strerror}") from error
