"""The folder of a LoRA adapter in peft's format, judged without torch: does it belong to this policy and this recipe?

    check_adapter(Path("runs/sft/policy/adapter"), base=folder, model="base", rank=16, alpha=32.0, targets=())

`policies/lora.py` writes such folders and loads them, peft's own too. A linear layer has A (r, in) and B (out, r):

    base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight      … .lora_B.weight

and the routed experts of a layer, which transformers keeps fused, have those of all E experts in one, as peft lays
them out: A (E r, in), B (out, r E); the outer pair is down_proj's, the inner one gate's and up's:

    base_model.model.model.layers.1.mlp.experts.lora_A.weight           … .experts.base_layer.lora_A.weight
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from policies.digests import digest_bytes
from policies.errors import BrokenCheckpoint, PolicyError
from policies.facts import read_config, safetensors_header, stored_tensors
from policies.json_types import JsonDict, JsonMapping
from policies.parts import Tensor, tensors

CONFIG_FILE, ADAPTER_FILE = "adapter_config.json", "adapter_model.safetensors"
EXPERTS = "experts"
"""The target that stands for gate, up and down of every routed expert."""
PREFIX = "base_model.model."
FINGERPRINT = "base_weights"
"""Key of the file's metadata: the `fingerprint` of the base; peft's own files have none."""
_HEAD_BYTES = 4096
_PAIR = re.compile(
    r"base_model\.model\.(?P<layer>model\.layers\.\d+\.[\w.]+?)(\.base_layer)?\.lora_[AB]\.weight"
)
_NEUTRAL = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "inference_mode", "lora_alpha",
        "lora_dropout", "megatron_core", "peft_type", "peft_version", "qalora_group_size", "r", "revision",
        "runtime_config", "target_modules", "target_parameters", "task_type", "layers_to_transform", "layers_pattern",
        "exclude_modules",
    }
)  # fmt: skip
"""Keys of adapter_config.json that say nothing about the function: the tensors say which layers have adapters."""
_PLAIN = {"bias": ("none",), "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva")}
"""Keys whose value may be one of these; other ways to begin change the base's weights as well."""


def fingerprint(folder: Path) -> str:
    """Return a digest of a model folder's weights: name, shape and the first 4 KiB of every tensor.

    Another training moves all tensors, so its weights have another one; config and tokenizer do not count.

    Raises:
        BrokenCheckpoint: the folder's weights cannot be read.
    """
    files = sorted({file for file, _ in stored_tensors(folder).values()})
    return digest_bytes(part for file in files for part in _samples(file))


def check_adapter(
    folder: Path, *, base: Path, model: str, rank: int, alpha: float, targets: Sequence[str]
) -> None:
    """Check that training can go on from an adapter; nothing is loaded.

    Args:
        folder: of the adapter.
        base: folder of the policy that it is to be added to.
        model: the recipe's name for that policy.
        rank, alpha, targets: of the recipe's [policy.lora].

    Raises:
        PolicyError: it is an adapter of another policy or another kind, or of other layers, rank or alpha than the
            recipe says; the message says what to write.
        BrokenCheckpoint: a file is missing or damaged, or a tensor is missing or has another shape.
    """
    config = read_adapter_config(folder)
    file = folder / ADAPTER_FILE
    shapes = safetensors_header(file)
    for problem in _unlike_ours(config):
        raise PolicyError(f"{folder / CONFIG_FILE}: {problem}")
    _check_base(folder, config, base, model)
    found = sorted({match["layer"].rpartition(".")[2] for name in shapes if (match := _PAIR.fullmatch(name))})
    linear = sorted(_targets(base_tensors(base)) - {EXPERTS})
    wanted = sorted(targets) or linear
    for key, has, says in (
        ("rank", config.get("r"), rank),
        ("alpha", config.get("lora_alpha"), alpha),
        ("targets", found, wanted),
    ):
        if has != says:
            listed = json.dumps(has)
            raise PolicyError(
                f"policy.lora.{key} = {json.dumps(says)}, but the adapter in {folder} has {listed}: "
                f"set policy.lora.{key} = {listed}, or name another adapter"
            )
    expected = expected_shapes(base_tensors(base), rank, wanted)
    for name in sorted(expected.keys() | shapes.keys()):
        if name not in shapes:
            raise BrokenCheckpoint(f"{file}: {name} is missing; the policy has that layer")
        if name not in expected:
            raise BrokenCheckpoint(f"{file}: {name} belongs to no layer of the policy's decoder")
        if tuple(shapes[name]) != expected[name]:
            raise BrokenCheckpoint(
                f"{file}: {name} has shape {tuple(shapes[name])}, the policy needs {expected[name]}"
            )


def read_adapter_config(folder: Path) -> JsonDict:
    """Return the adapter_config.json of a folder.

    Raises:
        PolicyError: there is no such folder, or no adapter in it.
        BrokenCheckpoint: the file is no JSON object.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        inside = next((f for f in (folder / "adapter", folder / "policy" / "adapter") if f.is_dir()), None)
        offer = (
            f"; did you mean {inside}?" if inside else f" (a folder with {CONFIG_FILE} and {ADAPTER_FILE})"
        )
        what = "holds no adapter" if folder.is_dir() else "no such folder"
        raise PolicyError(f"policy.lora.adapter = {str(folder)!r}: {what}{offer}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenCheckpoint(f"{file}: cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise BrokenCheckpoint(f"{file}: expected a JSON object")
    return config


def base_tensors(base: Path) -> list[Tensor]:
    """Return the tensors of the main layers of a policy's folder, whose adapters count."""
    return [tensor for tensor in tensors(read_config(base)) if tensor.layer is not None]


def adapted(listed: Sequence[Tensor], targets: Sequence[str]) -> Iterator[tuple[Tensor, str]]:
    """Yield the tensors that get an adapter, and the module's name; no targets: all linear layers."""
    for tensor in listed:
        name = tensor.name.removesuffix(".weight")
        is_target = not targets or name.rpartition(".")[2] in targets
        if EXPERTS in targets if tensor.part == "experts" else tensor.is_linear and is_target:
            yield tensor, name


def expected_shapes(
    listed: Sequence[Tensor], rank: int, targets: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an adapter's file, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor, name in adapted(listed, targets):
        *experts, out, inner = tensor.shape
        rows = rank * (experts[0] if experts else 1)
        a, b = file_names(name)
        shapes |= {a: (rows, inner), b: (out, rows)}
    return shapes


def file_names(name: str) -> tuple[str, str]:
    """Return the names in the file of A and B of a module, or of a fused tensor of routed experts."""
    owner, _, last = name.rpartition(".")
    if owner.endswith(f".{EXPERTS}"):
        name = f"{owner}.base_layer" if last == "gate_up_proj" else owner
    return f"{PREFIX}{name}.lora_A.weight", f"{PREFIX}{name}.lora_B.weight"


def _targets(listed: Sequence[Tensor]) -> set[str]:
    return {name.rpartition(".")[2] for _, name in adapted(listed, ())}


def _unlike_ours(config: JsonMapping) -> Iterator[str]:
    """Yield what makes the adapter another function than W + (α/r) B A."""
    if config.get("peft_type") != "LORA":
        yield f"peft_type = {config.get('peft_type')!r}: training goes on from LoRA adapters alone"
    if config.get("use_rslora"):
        yield (
            "use_rslora scales by α/√r, here it is α/r: set use_rslora to false there and lora_alpha to "
            f"{config.get('lora_alpha', 0) * float(config.get('r') or 0) ** 0.5:g}"
        )
    for key, value in config.items():
        if key in _PLAIN and value not in _PLAIN[key]:
            yield f"{key} = {value!r}: only {', '.join(map(repr, _PLAIN[key]))} can be gone on from"
        elif key not in _NEUTRAL and key not in _PLAIN and value not in (None, False, 0, {}, [], ""):
            yield f"{key} = {value!r}: the learner does not compute such an adapter; merge it into a policy with peft"


def _check_base(folder: Path, config: JsonMapping, base: Path, model: str) -> None:
    named = config.get("base_model_name_or_path")
    recorded = _metadata(folder / ADAPTER_FILE).get(FINGERPRINT)
    if recorded is not None:
        if recorded != fingerprint(base):
            raise PolicyError(
                f"{folder}: the adapter was trained on other weights ({named}) than those of policy.model = {model!r}; "
                "name the policy that it was trained on"
            )
    elif not isinstance(named, str) or (
        named != model and Path(named).expanduser().resolve() != base.resolve()
    ):
        raise PolicyError(
            f"{folder}: base_model_name_or_path is {named!r}, policy.model is {model!r}; name the adapter's base. If "
            f"they are the same weights, write the name of policy.model into {folder / CONFIG_FILE}"
        )


def _metadata(file: Path) -> dict[str, str]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        found = json.loads(stream.read(length)).get("__metadata__")
    return found if isinstance(found, dict) else {}


def _samples(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for name in sorted(header):
            begin, end = header[name]["data_offsets"]
            stream.seek(8 + length + begin)
            yield f"{name}{header[name]['dtype']}{header[name]['shape']}".encode()
            yield stream.read(min(_HEAD_BYTES, end - begin))
