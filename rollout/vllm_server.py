"""vLLM's own OpenAI-compatible server on a policy, with the settings that make our engine right.

    serve(folder, EngineConfig(dtype="float32"), ServerOptions(name="demo"), [])       until SIGINT or SIGTERM

The settings become the defaults of `vllm serve`'s options, so that its own command line still overrides each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any  # of vLLM's parsed options

from policies.json_types import JsonDict
from rollout.config import EngineConfig
from rollout.vllm_settings import model_args, prepare_process

if TYPE_CHECKING:
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be started for; an adapter of another rank runs under the next larger one."""


@dataclass(frozen=True)
class ServerOptions:
    """How a policy is offered."""

    name: str
    """The model's name in requests."""
    host: str = "127.0.0.1"
    port: int = 8000
    chat_template: str | None = None
    """Jinja text for chat requests; None: the tokenizer's own."""
    adapters: tuple[tuple[str, Path], ...] = ()
    """(name in requests, folder in peft's format) of each LoRA adapter."""
    adapter_rank: int = 0
    """Largest rank of the adapters."""


def serve(model_dir: Path, config: EngineConfig, options: ServerOptions, vllm_options: Sequence[str]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        model_dir: folder of the policy.
        config: engine settings; `dtype` must not be "auto".
        options: name, address, chat template, adapters.
        vllm_options: options of `vllm serve`, which override all others.

    Raises:
        RolloutError: vLLM's attention does not take the policy.
        SystemExit: vLLM does not know one of its options.
    """
    prepare_process(model_dir, config)
    import uvloop
    from vllm.entrypoints.launchers.api_server.entry import run_server
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.platforms import current_platform
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    on_cpu = current_platform.is_cpu()
    new_parser: Any = FlexibleArgumentParser
    parser: Any = make_arg_parser(new_parser(prog="grpo serve POLICY --"))
    parser.set_defaults(**server_defaults(model_dir, config, options, on_cpu))
    parsed = parser.parse_args(list(vllm_options))
    parsed.lora_modules = [*(parsed.lora_modules or []), *_adapters(options)] or None
    validate_parsed_serve_args(parsed)
    uvloop.run(run_server(parsed))


def server_defaults(model_dir: Path, config: EngineConfig, options: ServerOptions, on_cpu: bool) -> JsonDict:
    """Return the defaults of the options of `vllm serve`."""
    lora: JsonDict = {}
    if options.adapters:
        rank = next((r for r in LORA_RANKS if r >= options.adapter_rank), LORA_RANKS[-1])
        lora = {"enable_lora": True, "max_lora_rank": rank, "max_loras": len(options.adapters)}
    template: JsonDict = {}
    if options.chat_template is not None:
        template = {"chat_template": options.chat_template, "chat_template_content_format": "string"}
    return (
        model_args(model_dir, config, on_cpu)
        | lora
        | template
        | {"served_model_name": [options.name], "host": options.host, "port": options.port}
    )


def _adapters(options: ServerOptions) -> list[LoRAModulePath]:
    from vllm.entrypoints.openai.models.protocol import LoRAModulePath

    return [LoRAModulePath(name, str(folder)) for name, folder in options.adapters]
