"""Facts of a model folder from its config.json and the headers of its weights, without torch or transformers.

    folder = resolve_model("Qwen/Qwen3-0.6B")       a folder, or a hub id that is downloaded
    facts = read_facts(folder)                      raises on a folder that cannot be loaded

Weights are safetensors only, because a pickle can run code when it is opened. Modelling code of a repository is never
downloaded.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from policies.errors import BrokenCheckpoint, MissingTokenizer, PolicyError, UnsupportedArchitecture
from policies.families.registry import BY_ARCHITECTURE
from policies.files import NOT_FETCHED, is_lfs_pointer
from policies.json_types import JsonDict
from policies.near_paths import did_you_mean_path
from policies.refusals import refusal

MTP_STATE = "mtp_state"
"""Key of config.json; "stale": the layers of multi-token prediction have not followed the main layers' training."""
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
TOKENIZER_FILE = "tokenizer.json"

_DOWNLOAD = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    INDEX_FILE,
    "tokenizer*.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class PolicyFacts:
    """Properties of a model folder that other modules use."""

    folder: Path
    architecture: str
    """Class name in config.json, e.g. "DeepseekV3ForCausalLM"."""
    family: str
    """transformers' model_type, e.g. "deepseek_v3"."""
    vocab_size: int
    hidden_size: int
    max_positions: int
    """Longest sequence that the position embedding supports, in tokens."""
    mtp_layers: int
    """Layers of multi-token prediction with weights in the folder (`num_nextn_predict_layers` of DeepSeek-V3)."""
    parameters: int
    """Elements of all stored tensors; 0 without weights."""
    has_tokenizer: bool


def read_facts(folder: Path | str, *, need_weights: bool = True, need_tokenizer: bool = True) -> PolicyFacts:
    """Read the facts of a model folder.

    Raises:
        UnsupportedArchitecture: the message names the file, the value found and the supported values; for the folder
            of a run, a checkpoint or a graph it names the policies inside.
        MissingTokenizer: there is no tokenizer.json (unless `need_tokenizer` is False).
        BrokenCheckpoint: config or weights are missing or cut short, or they contradict each other.
    """
    folder = Path(folder)
    _refuse_other_folder(folder)
    config = _read_json(folder / "config.json")
    architecture, family = _architecture(folder / "config.json", config)
    has_tokenizer = (folder / TOKENIZER_FILE).is_file()
    if need_tokenizer and not has_tokenizer:
        raise MissingTokenizer(
            f"{folder}: no {TOKENIZER_FILE}; copy the tokenizer's files into the folder "
            "(a slow tokenizer is converted by AutoTokenizer.from_pretrained(…).save_pretrained(…))"
        )
    stored = stored_tensors(folder) if need_weights or _has_weights(folder) else {}
    shapes = {name: shape for name, (_, shape) in stored.items()}
    facts = PolicyFacts(
        folder=folder,
        architecture=architecture,
        family=family,
        vocab_size=_number(folder, config, "vocab_size"),
        hidden_size=_number(folder, config, "hidden_size"),
        max_positions=_number(folder, config, "max_position_embeddings"),
        mtp_layers=_mtp_layers(config, shapes),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        has_tokenizer=has_tokenizer,
    )
    found = shapes.get("model.embed_tokens.weight")
    if found is not None and tuple(found) != (facts.vocab_size, facts.hidden_size):
        raise BrokenCheckpoint(
            f"{folder}: model.embed_tokens.weight has shape {tuple(found)}, config.json says vocab_size "
            f"{facts.vocab_size} and hidden_size {facts.hidden_size}"
        )
    return facts


def read_config(folder: Path) -> JsonDict:
    """Return the model folder's config.json.

    Raises:
        BrokenCheckpoint: it is missing or no JSON object.
    """
    return _read_json(folder / "config.json")


def resolve_model(name_or_path: str | Path) -> Path:
    """Return the folder, or the local copy of a hub model (config, safetensors and tokenizer only).

    Raises:
        PolicyError: it is neither a folder nor a model that the hub can provide now.
    """
    path = Path(name_or_path)
    if path.is_dir():
        return path
    name = str(name_or_path)
    if path.is_file():
        raise PolicyError(f"{name} is a file; a policy is a folder{_offer(_policies_in(path.parent))}")
    near = did_you_mean_path(path, folders=True, cutoff=0.7)
    if path.exists() or path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise PolicyError(f"{name}: no such folder{near}; train it first, or name another policy (--model)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_DOWNLOAD)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PolicyError(
            f"{name}: no such folder here{near}, and the hub did not give a model of that name ({reason}); "
            "give a folder, or download the model while online"
        ) from error


def _refuse_other_folder(folder: Path) -> None:
    """Refuse a folder that is no model's but holds some, a run's, a checkpoint's, a graph's; and that of an adapter.

    Raises:
        UnsupportedArchitecture: names them, or the adapter's base.
    """
    if not _is_model(folder) and (folder / "adapter_config.json").is_file():
        base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
        raise UnsupportedArchitecture(
            f"{folder} is a LoRA adapter, no policy: to go on from it, set policy.model to its base ({base}) and "
            "policy.lora.adapter to this folder"
        )
    if not _is_model(folder) and (inside := _policies_in(folder)):
        raise UnsupportedArchitecture(f"{folder} is no model folder{_offer(inside)}")


def _policies_in(folder: Path) -> list[Path]:
    """Return the model folders that `folder` is or holds: a run's policy, a graph's, those of checkpoints."""
    below = (
        path
        for place in ("policy", "*/policy", "checkpoints/*/policy")
        for path in sorted(folder.glob(place))
    )
    return [path for path in (folder, *below) if _is_model(path)]


def _offer(policies: list[Path]) -> str:
    if not policies:
        return ""
    more = f" (or {', '.join(map(str, policies[1:4]))})" if policies[1:] else ""
    return f"; did you mean {policies[0]}{more}?"


def _is_model(folder: Path) -> bool:
    """Return True if there is a config.json that names an architecture."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(config.get("architectures"))


def _architecture(file: Path, config: JsonDict) -> tuple[str, str]:
    """Return architecture and family.

    Raises:
        UnsupportedArchitecture: names key, value and reason.
    """
    quantised = config.get("quantization_config")
    if quantised and (not isinstance(quantised, dict) or quantised.get("quant_method") != "fp8"):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise UnsupportedArchitecture(
            f"{file}: quantization_config (quant_method = {method!r}): quantised weights cannot be trained; "
            "convert them to bfloat16 or float32 first (for GGUF: grpo import-gguf)"
        )
    if (reason := refusal(config)) is not None:
        raise UnsupportedArchitecture(f"{file}: {reason}")
    if quantised:
        raise UnsupportedArchitecture(
            f"{file}: quantization_config (quant_method = 'fp8'): FP8 weights cannot be trained; "
            f"`grpo convert {file.parent} NEW_FOLDER` writes them as bfloat16"
        )
    found = config["architectures"]
    name = str(found[0] if isinstance(found, list) else found)
    return name, BY_ARCHITECTURE[name].name


def _mtp_layers(config: JsonDict, shapes: dict[str, list[int]]) -> int:
    """Return 0 if the config declares such layers but the checkpoint lacks them, as many converted ones do."""
    first = f"model.layers.{config.get('num_hidden_layers')}.eh_proj.weight"
    return int(config.get("num_nextn_predict_layers") or 0) if first in shapes else 0


def _has_weights(folder: Path) -> bool:
    return (folder / SINGLE_FILE).exists() or (folder / INDEX_FILE).exists()


def stored_tensors(folder: Path) -> dict[str, tuple[Path, list[int]]]:
    """Return file and shape by tensor name; checks every file against its header and the index.

    Raises:
        BrokenCheckpoint: a file is missing or cut short, or the index lists a tensor that no file has.
    """
    index_file = folder / INDEX_FILE
    weight_map: dict[str, str] | None = None
    if index_file.exists():
        weight_map = _read_json(index_file).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise BrokenCheckpoint(f"{index_file}: no weight_map in it")
        files = tuple(sorted(set(weight_map.values())))
    elif (folder / SINGLE_FILE).exists():
        files = (SINGLE_FILE,)
    else:
        others = sorted(p.name for p in folder.glob("*.bin"))
        hint = f"; {others[0]} is a pickle and is not read: convert it to safetensors" if others else ""
        raise BrokenCheckpoint(f"{folder}: no {SINGLE_FILE} and no {INDEX_FILE}{hint}")
    stored: dict[str, tuple[Path, list[int]]] = {}
    absent = [name for name in files if not (folder / name).exists()]
    if absent:
        raise BrokenCheckpoint(
            f"{folder}: {len(absent)} of the {len(files)} files that {INDEX_FILE} lists are not there, {absent[0]} the "
            "first; a download that was cut short? Copy or download it again"
        )
    for name in files:
        file_shapes = safetensors_header(folder / name)
        stored.update({tensor: (folder / name, shape) for tensor, shape in file_shapes.items()})
        missing = [t for t, file in (weight_map or {}).items() if file == name and t not in file_shapes]
        if missing:
            raise BrokenCheckpoint(f"{folder / name}: {missing[0]} is missing, though {INDEX_FILE} lists it")
    return stored


def safetensors_header(file: Path) -> dict[str, list[int]]:
    """Return shapes by tensor name from a file of u64 header length, JSON header and data."""
    try:
        if is_lfs_pointer(file):
            raise BrokenCheckpoint(f"{file}: {NOT_FETCHED}")
        total = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if total < 8 or length > total - 8:
                raise BrokenCheckpoint(
                    f"{file}: cut short ({total} bytes, its header is incomplete); copy or download it again"
                )
            header = json.loads(stream.read(length))
    except OSError as error:
        raise BrokenCheckpoint(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, BrokenCheckpoint):
            raise
        raise BrokenCheckpoint(f"{file}: its header is not JSON; the file is damaged") from error
    try:
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = {name: entry["shape"] for name, entry in header.items()}
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise BrokenCheckpoint(f"{file}: its header lists no tensors; the file is damaged") from error
    if total != 8 + length + end:
        raise BrokenCheckpoint(
            f"{file}: {total} bytes, its header says {8 + length + end}; cut short or damaged, "
            "copy or download it again"
        )
    return shapes


def _number(folder: Path, config: JsonDict, key: str) -> int:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 1:
        raise BrokenCheckpoint(f"{folder / 'config.json'}: {key} = {value!r}, expected a positive number")
    return int(value)


def _read_json(file: Path) -> JsonDict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BrokenCheckpoint(
            f"{file}: cannot be read ({error.strerror}); is this a model folder?"
        ) from error
    except ValueError as error:
        raise BrokenCheckpoint(f"{file}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise BrokenCheckpoint(f"{file}: expected a JSON object")
    return content
