"""The policy that a name means, and the prompts that it was trained on.

find_policy("runs/demo")             runs/demo/policy
prompting(Path("runs/demo/policy"))  Prompting(template="r1-zero", …), from the run's config.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grpo.common.errors import ConfigError
from policies.facts import resolve_model
from policies.json_types import JsonDict

POLICY = "policy"
"""Name of a run's folder with the exported policy."""


@dataclass(frozen=True)
class Prompting:
    """How the prompts of a run were rendered; the keys of its [data] section."""

    template: str
    system: str | None = None
    prefill: str = ""
    preamble: str = ""
    stop_tokens: tuple[str, ...] = ()
    """Tokens that end a completion besides the tokenizer's own."""


def find_policy(name: str) -> Path:
    """Return the model folder that `name` means: a model folder, a run folder with a policy, or a hub id.

    Raises:
        ConfigError: the folder holds no policy; names those below it.
        PolicyError: there is no such folder, and the hub has no model of that name.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        return resolve_model(name)
    if is_policy(path):
        return path
    if is_policy(path / POLICY):
        return path / POLICY
    if is_adapter(path):
        base = read_json(path / "adapter_config.json").get("base_model_name_or_path")
        raise ConfigError(f"{path} is a LoRA adapter, no policy: grpo serve {base} --adapter NAME={path}")
    inside = sorted(
        p for glob in ("*/policy", "checkpoints/*/policy") for p in path.glob(glob) if is_policy(p)
    )
    offer = f"; there are {', '.join(map(str, inside))}" if inside else "; a run exports it at its end"
    raise ConfigError(f"{path} holds no policy (neither {path} nor {path / POLICY} is a model folder){offer}")


def is_policy(folder: Path) -> bool:
    """Return True for a folder whose config.json is a model's: that of a run names no architecture."""
    return (folder / "config.json").is_file() and "architectures" in read_json(folder / "config.json")


def is_adapter(folder: Path) -> bool:
    """Return True for a folder of a LoRA adapter in peft's format."""
    return (folder / "adapter_config.json").is_file()


def run_config(folder: Path) -> JsonDict:
    """Return the config of the run that exported a policy folder; empty if the folder stands in no run."""
    file = folder.resolve().parent / "config.json"
    if folder.resolve().name != POLICY or not file.is_file():
        return {}
    config = read_json(file)
    return config if "stage" in config else {}


def policy_name(folder: Path) -> str:
    """Return a short name for a policy folder: that of its run, or its own."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == POLICY else folder.name


def prompting(folder: Path) -> Prompting | None:
    """Return how a policy was prompted when it was trained; None if that is not known."""
    config = run_config(folder)
    data = config.get("data")
    if not isinstance(data, Mapping):
        return None
    template = "chat" if data.get("format") == "chat" else data.get("template")
    if template is None:
        return None
    sampling = config.get("sampling") or {}
    return Prompting(
        template=str(template),
        system=data.get("system"),
        prefill=data.get("prefill") or "",
        preamble=data.get("preamble") or "",
        stop_tokens=tuple(sampling.get("stop_tokens") or ()),
    )


def read_json(file: Path) -> JsonDict:
    """Return the object in a JSON file.

    Raises:
        ConfigError: the file cannot be read or holds no object.
    """
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file} holds no JSON object")
    return tree
