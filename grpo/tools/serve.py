"""`grpo serve`: a policy behind vLLM's OpenAI-compatible server, set up as the rollout engine is.

What can be checked is checked before vLLM is imported: policy, chat template, adapters, dtype, port.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from data_recipes.chat_templates import chat_template
from grpo.common.console import say
from grpo.common.errors import ConfigError, RunError
from grpo.common.hardware import has_gpu, resolve_compute_dtype
from grpo.common.policy_folder import Prompting, find_policy, is_adapter, policy_name, prompting, read_json
from policies.facts import read_facts
from policies.tokenizer import Tokenizer, load_tokenizer
from rollout.config import EngineConfig
from rollout.vllm_server import LORA_RANKS, ServerOptions
from rollout.vllm_settings import check_cpu_engine

INTERRUPTED = 130
TEMPLATES = ("r1-zero", "plain", "chat")


def run(
    policy: str,
    *,
    host: str,
    port: int,
    name: str | None,
    template: str | None,
    adapters: Sequence[str],
    dtype: str,
    max_model_len: int | None,
    kv_cache_gib: float | None,
    threads: int | None,
    vllm_options: Sequence[str],
) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code: 0, or 130 if it was stopped before it was ready.

    Args:
        policy: model folder, run folder or hub id.
        host, port: where to listen.
        name: the model's name in requests; None: that of the run or folder.
        template: "r1-zero", "plain", "chat" or a Jinja file; None: the one the policy was trained with.
        adapters: "NAME=FOLDER" each, in peft's format.
        dtype: "auto", "float32" or "bfloat16".
        max_model_len, kv_cache_gib, threads: as in a recipe's [engine].
        vllm_options: options of `vllm serve`, which override all others.

    Raises:
        ConfigError: an argument is wrong. RunError: the port is taken. PolicyError: the folder cannot be loaded.
    """
    folder = find_policy(policy)
    facts = read_facts(folder)
    tokenizer = load_tokenizer(folder)
    found = [parse_adapter(text) for text in adapters]
    options = ServerOptions(
        name=name or policy_name(folder),
        host=host,
        port=port,
        chat_template=chosen_template(template, tokenizer, prompting(folder)),
        adapters=tuple(found),
        adapter_rank=max((adapter_rank(path) for _, path in found), default=0),
    )
    if found:
        require_adapters_work(folder)
    if options.name in dict(found):
        raise ConfigError(
            f"--adapter {options.name}=…: that is the policy's own name; choose another, or --name"
        )
    config = EngineConfig(
        dtype=resolve_compute_dtype(dtype, facts.hidden_size),
        max_model_len=max_model_len,
        kv_cache_gib=kv_cache_gib,
        threads=threads,
    )
    if not has_gpu():
        check_cpu_engine(folder, config)
    require_free_port(host, port)
    announce(folder, options, config.dtype, has_chat=bool(options.chat_template or tokenizer.chat_template))
    from rollout.vllm_server import serve

    # Of vLLM's processes: a deprecated name of torch, and a semaphore that is removed all the same.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning,ignore:resource_tracker:UserWarning")
    try:
        serve(folder, config, options, vllm_options)
    except KeyboardInterrupt:
        say("stopped before it was ready")
        return INTERRUPTED
    say("stopped")
    return 0


def chosen_template(template: str | None, tokenizer: Tokenizer, trained: Prompting | None) -> str | None:
    """Return the chat template to serve with; None for the tokenizer's own, if it has one.

    Args:
        template: a name, a Jinja file, or None for the template of training.
        tokenizer: the policy's.
        trained: how the policy was prompted in training, if that is known.

    Raises:
        ConfigError: neither a template nor a file. DataError: the tokenizer cannot be served with the template.
    """
    if template is None:
        if trained is None:
            return None
        return chat_template(trained.template, tokenizer, trained.system, trained.prefill, trained.preamble)
    if template not in TEMPLATES:
        file = Path(template).expanduser()
        if not file.is_file():
            raise ConfigError(f"--template {template}: no such file, and none of {', '.join(TEMPLATES)}")
        return file.read_text(encoding="utf-8-sig")
    same = trained is not None and trained.template == template
    details = trained if same and trained is not None else Prompting(template)
    return chat_template(template, tokenizer, details.system, details.prefill, details.preamble)


def parse_adapter(text: str) -> tuple[str, Path]:
    """Return name and folder of NAME=FOLDER.

    Raises:
        ConfigError: it has another form, or the folder holds no adapter.
    """
    name, equals, folder = text.partition("=")
    path = Path(folder).expanduser()
    if not (name and equals and folder):
        raise ConfigError(f"--adapter {text!r}: write NAME=FOLDER, e.g. maths=runs/lora/policy/adapter")
    if not is_adapter(path):
        raise ConfigError(
            f"--adapter {text}: no adapter_config.json in {path}; a LoRA run leaves policy/adapter"
        )
    return name, path


def adapter_rank(folder: Path) -> int:
    """Return the rank of an adapter in peft's format.

    Raises:
        ConfigError: it has none, or one that vLLM does not take.
    """
    rank = read_json(folder / "adapter_config.json").get("r")
    if not isinstance(rank, int) or not 1 <= rank <= LORA_RANKS[-1]:
        raise ConfigError(
            f"{folder / 'adapter_config.json'}: r = {rank!r}; vLLM takes ranks up to {LORA_RANKS[-1]}"
        )
    return rank


def require_adapters_work(folder: Path) -> None:
    """Check that vLLM has kernels for adapters on this policy.

    Raises:
        ConfigError: it has routed experts, and there is no GPU.
    """
    if read_json(folder / "config.json").get("n_routed_experts") and not has_gpu():
        raise ConfigError(
            f"--adapter: {folder} has routed experts, and for these vLLM's adapters need a GPU (its kernels are "
            "Triton's). Serve the run's policy/ instead: there the adapter is merged into the weights"
        )


def require_free_port(host: str, port: int) -> None:
    """Check that nothing listens at the address yet.

    Raises:
        RunError: something does, or the host has no such address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RunError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another --port or --host"
            ) from error


def is_local(host: str) -> bool:
    """Return True for an address that other machines cannot reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def announce(folder: Path, options: ServerOptions, dtype: str, has_chat: bool) -> None:
    """Print what is offered where, before the minute that vLLM takes to start."""
    address = f"[{options.host}]" if ":" in options.host else options.host
    url = f"http://{address}:{options.port}"
    names = ", ".join([options.name, *(name for name, _ in options.adapters)])
    say(f"[bold]grpo serve[/] {escape(str(folder))} ({dtype}) → {url}/v1, model {escape(names)}")
    say(f"  ready when {url}/health answers; Ctrl-C stops it")
    if not has_chat:
        say(
            "  [yellow]no chat template[/]: /v1/completions works, /v1/chat/completions needs "
            "--template r1-zero, plain or a Jinja file"
        )
    if not is_local(options.host) and not os.environ.get("VLLM_API_KEY"):
        say(
            "  [yellow]other machines can reach this address[/] and no VLLM_API_KEY is set: anyone may use it"
        )
