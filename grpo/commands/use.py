"""Commands that use a trained policy."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

Policy = Annotated[
    str, typer.Argument(help="Model folder, run folder (its policy/ is taken) or Hugging Face id.")
]
Template = Annotated[
    str | None,
    typer.Option(
        help="`r1-zero`, `plain`, `chat` (the tokenizer's own) or a Jinja file. Default: the one it was trained with."
    ),
]


def serve(
    policy: Policy,
    vllm_options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- VLLM_OPTIONS]", help="Options of `vllm serve`, which override all others."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    name: Annotated[
        str | None, typer.Option(help="The model's name in requests. Default: that of the run.")
    ] = None,
    template: Template = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FOLDER", help="Also offer a LoRA adapter in peft's format. Repeatable."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="`auto`, `float32` or `bfloat16`.")] = "auto",
    max_model_len: Annotated[
        int | None,
        typer.Option(min=2, help="Longest prompt + completion, in tokens. Default: the policy's context."),
    ] = None,
    kv_cache_gib: Annotated[float | None, typer.Option(help="GiB for keys and values.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads on a CPU. Default: all cores.")] = None,
) -> None:
    """Serve a policy over HTTP: vLLM's OpenAI-compatible server, set up as the rollout engine is."""
    from grpo.tools.serve import run

    if dtype not in ("auto", "float32", "bfloat16"):
        raise typer.BadParameter("there are auto, float32, bfloat16", param_hint="--dtype")
    code = run(
        policy,
        host=host,
        port=port,
        name=name,
        template=template,
        adapters=adapter or (),
        dtype=dtype,
        max_model_len=max_model_len,
        kv_cache_gib=kv_cache_gib,
        threads=threads,
        vllm_options=vllm_options or (),
    )
    # At once: on the usual way out of Python, Triton's libraries print hundreds of lines about their own objects.
    sys.stdout.flush()
    os._exit(code)


def chat(
    policy: Annotated[
        str | None, typer.Argument(help="Model folder, run folder or Hugging Face id; none with --url.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="A running server, e.g. http://127.0.0.1:8000/v1.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    template: Template = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 1.0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 1.0,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest reply. Default: the context's rest.")
    ] = None,
    max_model_len: Annotated[int | None, typer.Option(min=2, help="As for `grpo serve`.")] = None,
) -> None:
    """Talk to a policy in the terminal; replies stream, /help lists commands. Reads a pipe too, a line a message."""
    from grpo.tools.chat import Sampling, run

    if (policy is None) == (url is None):
        raise typer.BadParameter("give either a policy or --url")
    options = [] if max_model_len is None else ["--max-model-len", str(max_model_len)]
    sampling = Sampling(temperature, top_p, max_tokens)
    run(policy, url=url, system=system, template=template, sampling=sampling, serve_options=options)


def push(
    policy: Policy,
    repo_id: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made if it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="Visible to everyone. Default: private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch. Default: main.")] = None,
    message: Annotated[str | None, typer.Option(help="Message of the commit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be sent, and send nothing.")
    ] = False,
) -> None:
    """Upload a policy with its model card to the Hugging Face hub; the token is read from HF_TOKEN."""
    from grpo.tools.push import run

    run(policy, repo_id, public=public, revision=revision, message=message, dry_run=dry_run)


def export_gguf(
    policy: Policy,
    out: Annotated[Path, typer.Argument(help="The .gguf file to write.")],
    converter: Annotated[
        Path,
        typer.Option(help="A llama.cpp checkout, or its convert_hf_to_gguf.py.", envvar="LLAMA_CPP"),
    ],
    outtype: Annotated[str, typer.Option(help="Type of the matrices: f32, f16, bf16 or q8_0.")] = "f16",
) -> None:
    """Write a policy as GGUF by llama.cpp's converter; every tensor of the file is then compared with the policy."""
    from grpo.common.policy_folder import find_policy
    from policies.gguf_export import export_gguf as export

    report = export(find_policy(policy), out, converter, outtype)
    typer.echo(
        f"{report.path}: {report.tensors} tensors, {report.bytes:,} bytes; every one is the policy's, off by at most "
        f"{report.largest_difference:.3g}"
    )
