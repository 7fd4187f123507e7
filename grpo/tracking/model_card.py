"""The model card: README.md beside exported weights. How they load, where they do not, how they were trained.

    write_card(run_dir, summary)        run_dir/policy/README.md, from the run's config.json and manifest.json

The front matter is what a model hub reads. It states a licence and a base model only if they are known: from the card
in the base's own folder, or because the base is a hub id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from grpo.common.errors import BrokenRun
from grpo.tracking.run_dir import CARD
from policies.facts import MTP_STATE, PolicyFacts, read_facts
from policies.families.registry import family_of
from policies.files import write_atomic
from policies.json_types import JsonDict, JsonMapping
from rollout.engine_limits import MLA_KERNEL_DIMENSIONS
from rollout.vllm_settings import needs_plain_attention

ADAPTER, HEAD = "adapter", "head.safetensors"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def write_card(run_dir: Path, summary: JsonMapping) -> Path | None:
    """Write the card of a run's policy; returns its path, or None for a run that exported none.

    Args:
        run_dir: holds config.json, policy/ and, unless the stage writes none, manifest.json.
        summary: the content of summary.json.

    Raises:
        BrokenRun: a file cannot be read.
    """
    policy = run_dir / "policy"
    if not (policy / "config.json").is_file():
        return None
    config = _read(run_dir / "config.json")
    manifest = _read(run_dir / "manifest.json") if (run_dir / "manifest.json").exists() else {}
    facts = read_facts(policy, need_tokenizer=False)
    name = run_dir.resolve().name
    parts = [
        front_matter(config, facts, is_text=not (policy / HEAD).exists()),
        f"# {name}\n",
        opening(config, manifest, facts),
    ]
    parts += [loading(policy, facts), prompts(config), training(config, manifest, summary), recipe(config)]
    write_atomic(policy / CARD, "\n".join(part for part in parts if part))
    return policy / CARD


def front_matter(config: JsonMapping, facts: PolicyFacts, is_text: bool) -> str:
    """Return the YAML block that hubs read, delimiters included."""
    from huggingface_hub import ModelCardData

    base = base_model(config)
    parent = parent_card(base)
    known = base if base and _is_hub_id(base) else parent.get("base_model")
    data = ModelCardData(
        license=parent.get("license"),
        license_name=parent.get("license_name"),
        license_link=parent.get("license_link"),
        language=parent.get("language"),
        base_model=known,
        library_name="transformers",
        pipeline_tag="text-generation" if is_text else None,
        tags=["r1-workbench", "deepseek-r1", str(config["stage"]), facts.family],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def base_model(config: JsonMapping) -> str | None:
    """Return the policy that the run started from, as its recipe names it; None for one made from nothing."""
    policy = config.get("policy")
    return str(policy["model"]) if isinstance(policy, Mapping) and policy.get("model") else None


def parent_card(base: str | None) -> JsonDict:
    """Return the front matter of the card in the base's folder; empty if there is none."""
    if base is None or not (Path(base) / CARD).is_file():
        return {}
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        return dict(metadata_load(Path(base) / CARD) or {})
    except (ValueError, YAMLError):  # no valid front matter: nothing is known
        return {}


def opening(config: JsonMapping, manifest: JsonMapping, facts: PolicyFacts) -> str:
    """Return what this is, in two sentences."""
    base = base_model(config)
    begun = f" on {manifest['started'][:10]}" if manifest.get("started") else ""
    origin = "from nothing" if base is None else f"from `{base}`"
    licence = (
        ""
        if parent_card(base).get("license")
        else " No licence is stated: that of the base and of its data decides."
    )
    return (
        f"{facts.architecture} with {facts.parameters:,} parameters, trained {origin} by `grpo {config['stage']}` of "
        f"r1-workbench {_version()}{begun}.{licence}\n"
    )


def loading(folder: Path, facts: PolicyFacts) -> str:
    """Return how the folder loads, and where it does not."""
    lines = [
        "## Use\n",
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")',
        'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
        "```",
        "```",
        "grpo serve FOLDER       # OpenAI-compatible server: vLLM with the settings of training, on a CPU or a GPU",
        "grpo chat FOLDER        # in the terminal",
        "```\n",
    ]
    is_mla = family_of(facts.family).attention == "mla"
    if is_mla and needs_plain_attention(folder):
        config, (rank, rope) = _read(folder / "config.json"), MLA_KERNEL_DIMENSIONS
        lines.append(
            "- **Plain `vllm serve` does not work.** vLLM's kernels for latent attention (MLA) take kv_lora_rank "
            f"{rank} with qk_rope_head_dim {rope} only, this policy has {config['kv_lora_rank']} and "
            f"{config['qk_rope_head_dim']}, and vLLM does not start. With `VLLM_MLA_DISABLE=1` it starts; with "
            "`--enforce-eager` on a CPU it then writes garbage without an error, because its rotary embedding is wrong "
            "for this attention. `grpo serve` sets both right."
        )
    elif is_mla:
        lines.append(
            "- **Plain `vllm serve` may be wrong on a CPU**: with `--enforce-eager` its rotary embedding is wrong for "
            "latent attention (MLA), and it writes garbage without an error; on processors with AMX it takes bfloat16 "
            "only. `grpo serve` sets both right, and keeps the experts' router in float32, as training does."
        )
    else:
        lines.append(
            "- `vllm serve FOLDER --dtype float32` works as well. On a CPU add `--no-enable-chunked-prefill`, without "
            "which vLLM 0.32.0 fails at seeded requests with long prompts, and `--gpu-memory-utilization 0.3`: else it "
            "asks for 92 % of the machine's memory, and does not start beside other programs."
        )
    lines.append(
        "- The weights are float32; there is no code in this folder, so nothing needs `trust_remote_code`."
    )
    if facts.mtp_layers:
        lines.append(
            f"- {facts.mtp_layers} layer(s) of multi-token prediction are in the file; transformers ignores them."
        )
        if _read(folder / "config.json").get(MTP_STATE) == "stale":
            lines.append(
                f"- **These layers are stale** (`{MTP_STATE}` in config.json): the main layers were trained later, and "
                "alone. Speculative decoding with them gives the same text, only more slowly; `grpo sft` with "
                "`mtp.weight` above 0 trains them again."
            )
    if (folder / ADAPTER).is_dir():
        lines.append(
            f"- `{ADAPTER}/` holds the LoRA adapter in peft's format; the weights here are already base plus adapter."
        )
        if is_misread_by_peft(folder):
            lines.append(
                "- **peft does not load this adapter right**: it takes the layers of shared experts for routed ones "
                "and leaves them out, with a warning. Use the weights here."
            )
    if (folder / HEAD).is_file():
        lines.append(
            f"- **A reward model**: `{HEAD}` holds the scalar head, which transformers and vLLM do not load; the "
            "language model alone gives no rewards."
        )
    return "\n".join(lines) + "\n"


def is_misread_by_peft(folder: Path) -> bool:
    """Return True for an adapter on shared experts: peft 0.21 mistakes their layers for those of routed ones.

    An adapter on layers of the attention alone (policy.lora.targets) loads right.
    """
    if not _read(folder / "config.json").get("n_routed_experts"):
        return False
    targets = _read(folder / ADAPTER / "adapter_config.json").get("target_modules") or ()
    return not {"gate_proj", "up_proj", "down_proj"}.isdisjoint(targets)


def prompts(config: JsonMapping) -> str:
    """Return how the policy was prompted in training; empty where the recipe has no prompt template."""
    data = config.get("data")
    if not isinstance(data, Mapping):
        return ""
    template = "chat" if data.get("format") == "chat" else data.get("template")
    if template is None:
        return ""
    texts = {
        "r1-zero": "DeepSeek-R1-Zero's (arXiv 2501.12948, Table 1)",
        "chat": "the tokenizer's chat template",
    }
    lines = [
        "## Prompt\n",
        f"Trained with the template `{template}`: {texts.get(str(template), 'the question alone')}.",
    ]
    for key in ("system", "preamble", "prefill"):
        if data.get(key):
            lines.append(f"- {key}: `{json.dumps(data[key], ensure_ascii=False)}`")
    lines.append(f"\nIn a folder of its own it is served with `grpo serve FOLDER --template {template}`.")
    return "\n".join(lines) + "\n"


def training(config: JsonMapping, manifest: JsonMapping, summary: JsonMapping) -> str:
    """Return the facts of the run: key figures, data, versions, commit."""
    rows = [(f"`{key}`", _figure(value)) for key, value in summary.items() if _is_number(value)]
    lines = [
        "## Training\n",
        "| figure | value |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in rows),
        "",
    ]
    model = manifest.get("model") or {}
    files = ", ".join(f"{name} {digest}" for name, digest in (model.get("files") or {}).items())
    facts = {
        "stage": config["stage"],
        "base": base_model(config) or "none",
        "files of the base (SHA-256, 16 digits)": files or "none",
        "data (hashes)": ", ".join(f"{k} {v}" for k, v in (manifest.get("data") or {}).items())
        or "made from the seed",
        "seed": config.get("seed"),
        "begun": manifest.get("started", "unknown"),
        "commit": manifest.get("git_commit") or "unknown",
        "machine": f"{manifest.get('cpu', 'unknown')}, Python {manifest.get('python', 'unknown')}",
        "versions": ", ".join(f"{k} {v}" for k, v in (manifest.get("versions") or {}).items()) or "unknown",
    }
    lines += ["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in facts.items())]
    return "\n".join(lines) + "\n"


def recipe(config: JsonMapping) -> str:
    """Return the whole recipe, folded."""
    text = json.dumps(config, indent=2, ensure_ascii=False)
    return f"<details><summary>Recipe</summary>\n\n```json\n{text}\n```\n\n</details>\n"


def _version() -> str:
    try:
        return metadata.version("r1-workbench")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _is_hub_id(name: str) -> bool:
    return not Path(name).exists() and HUB_ID.fullmatch(name) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _read(file: Path) -> JsonDict:
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenRun(f"{file} cannot be read, so the model card cannot be written: {error}") from error
    return dict(tree)
