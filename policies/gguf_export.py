"""Writes a policy as a GGUF file by llama.cpp's own converter, then reads the file back and compares every tensor.

    export_gguf("runs/x/policy", "x.gguf", converter="~/llama.cpp", outtype="f16")

The converter is the script convert_hf_to_gguf.py of a llama.cpp checkout; llama.cpp publishes it nowhere else, so the
user says where it is. It knows tokenizers by name and refuses those it has never seen.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # of gguf's reader and name map, and of a config's values

import numpy as np
from numpy.typing import NDArray

from policies.errors import PolicyError
from policies.facts import INDEX_FILE, SINGLE_FILE, PolicyFacts, read_facts
from policies.families.registry import family_of
from policies.files import replacing
from policies.json_types import JsonDict

SCRIPT = "convert_hf_to_gguf.py"
OUTTYPES = ("f32", "f16", "bf16", "q8_0")
MADE_BY_THE_CONVERTER = ("rope_freqs.weight",)
"""Tensors that stand for config values: Llama 3's scaled frequencies."""
TIMEOUT_S = 6 * 3600
Q8_BLOCK = 32
Array = NDArray[np.float32]


@dataclass(frozen=True)
class GgufReport:
    """What was written and compared."""

    path: Path
    tensors: int
    bytes: int
    largest_difference: float
    """Largest |Δ| between a weight and what the file gives back; 0 for f32."""


def export_gguf(
    folder: Path | str, out: Path | str, converter: Path | str, outtype: str = "f16"
) -> GgufReport:
    """Convert a model folder; the file appears at `out` only if every tensor in it is right.

    Args:
        folder: the policy.
        out: the file to write.
        converter: a llama.cpp checkout, or the script itself.
        outtype: "f32", "f16", "bf16" or "q8_0", the type of the matrices.

    Raises:
        PolicyError: no converter there, it fails, or the file's tensors are not the policy's; names them.
    """
    facts, out = read_facts(folder), Path(out)
    script = find_converter(converter)
    if outtype not in OUTTYPES:
        raise PolicyError(f"outtype {outtype!r}: there are {', '.join(OUTTYPES)}")
    if not out.parent.is_dir():
        raise PolicyError(f"{out}: there is no folder {out.parent}")
    _architecture(facts)
    with replacing(out) as temporary:
        _convert(script, facts.folder, temporary, outtype)
        tensors, largest = compare(facts, temporary)
    return GgufReport(out, tensors, out.stat().st_size, largest)


def _architecture(facts: PolicyFacts) -> str:
    """Return gguf's name of the policy's architecture.

    Raises:
        PolicyError: it has none.
    """
    name = family_of(facts.family).gguf
    if name is None:
        raise PolicyError(f"{facts.folder}: GGUF has no architecture for {facts.family}")
    return name


def find_converter(place: Path | str) -> Path:
    """Return the converter's script.

    Raises:
        PolicyError: there is none.
    """
    path = Path(place).expanduser()
    script = path / SCRIPT if path.is_dir() else path
    if not script.is_file():
        raise PolicyError(
            f"{script}: no such file; `git clone https://github.com/ggml-org/llama.cpp` and give its folder"
        )
    return script


def _convert(script: Path, folder: Path, out: Path, outtype: str) -> None:
    words = [sys.executable, str(script), str(folder), "--outfile", str(out), "--outtype", outtype]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise PolicyError(f"{script}: not done after {TIMEOUT_S // 3600} hours") from error
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise PolicyError(f"{script} failed on {folder} (exit status {done.returncode}):\n{last}")


def compare(facts: PolicyFacts, file: Path) -> tuple[int, float]:
    """Compare every tensor of a GGUF file with a policy; returns their number and the largest difference.

    Raises:
        PolicyError: a tensor is missing, unexpected, of another shape, or further off than its type's rounding.
    """
    from gguf import GGUFReader

    try:
        found = {str(tensor.name): tensor for tensor in GGUFReader(file).tensors}
    except (ValueError, IndexError, OSError) as error:
        raise PolicyError(f"{file}: not a GGUF file ({error})") from error
    largest, seen = 0.0, set()
    for name, expected in gguf_tensors(facts):
        seen.add(name)
        if name not in found:
            raise PolicyError(f"the GGUF file lacks {name}, of shape {expected.shape}")
        largest = max(largest, _difference(name, expected, found[name]))
    extra = sorted(found.keys() - seen - set(MADE_BY_THE_CONVERTER))
    if extra:
        raise PolicyError(f"the GGUF file has tensors that the policy lacks: {', '.join(extra[:3])}")
    return len(seen), largest


def _difference(name: str, expected: Array, tensor: Any) -> float:
    from gguf import dequantize

    values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    if values.size != expected.size:
        raise PolicyError(
            f"the GGUF file's {name} has {values.size:,} elements, the policy's {expected.size:,}"
        )
    off = np.abs(values.reshape(expected.shape) - expected)
    if not (off <= rounding(expected, tensor.tensor_type.name)).all():
        raise PolicyError(
            f"the GGUF file's {name} ({tensor.tensor_type.name}) differs from the policy's by up to {off.max():.3g}, "
            "more than its type rounds"
        )
    return float(off.max()) if off.size else 0.0


def rounding(values: Array, kind: str) -> Array:
    """Return the largest error that storing values as a type may make, of the values' shape.

    Raises:
        PolicyError: the type is none of those that `export_gguf` asks for.
    """
    size = np.abs(values)
    if kind == "F32":
        return np.zeros_like(size)
    if kind == "F16":
        return size * np.float32(2.0**-11) + np.float32(2.0**-25)
    if kind == "BF16":
        return size * np.float32(2.0**-8) + np.float32(2.0**-126)  # smaller ones become zero
    if kind == "Q8_0":
        # Half a step of 1/127 of the block's largest. The step is a float16, off itself, up to 127 times.
        blocks = size.reshape(-1, Q8_BLOCK)
        bound = blocks.max(axis=1, keepdims=True) * np.float32((0.5 + 127 * 2.0**-11) / 127)
        bound = bound + np.float32(127 * 2.0**-25)
        return np.broadcast_to(bound, blocks.shape).reshape(values.shape)
    raise PolicyError(f"the GGUF file has tensors of type {kind}, which cannot be compared")


def gguf_tensors(facts: PolicyFacts) -> Iterator[tuple[str, Array]]:
    """Yield a policy's tensors as llama.cpp lays them out: (name, float32 values).

    Llama's query and key rows are interleaved for its rotary embedding; routed experts are stacked; MLA's kv_b is split
    into keys, transposed, and values. Layers of multi-token prediction are left out, as the converter leaves them out.
    """
    from gguf import MODEL_ARCH, get_tensor_name_map

    config = _json(facts.folder / "config.json")
    layers = int(config["num_hidden_layers"])
    names: Any = get_tensor_name_map(MODEL_ARCH[_architecture(facts)], layers)
    experts: dict[str, dict[int, Array]] = {}
    for name, values in _stored(facts.folder):
        parts = name.split(".")
        if parts[1] == "layers" and int(parts[2]) >= layers:
            continue
        if ".mlp.experts." in name:
            stacked = ".".join([*parts[:5], *parts[6:]])
            rows = experts.setdefault(stacked, {})
            rows[int(parts[5])] = values
            if len(rows) == config["n_routed_experts"]:
                yield _renamed(names, stacked), np.stack([rows[i] for i in sorted(rows)])
                del experts[stacked]
        elif parts[-2] == "kv_b_proj":
            heads = int(config["num_attention_heads"])
            keys, rest = np.split(
                values.reshape(heads, -1, values.shape[-1]), [int(config["qk_nope_head_dim"])], axis=1
            )
            yield _renamed(names, name.replace("kv_b_proj", "k_b_proj")), keys.swapaxes(1, 2)
            yield _renamed(names, name.replace("kv_b_proj", "v_b_proj")), rest
        elif facts.family == "llama" and parts[-2] in ("q_proj", "k_proj"):
            key = "num_attention_heads" if parts[-2] == "q_proj" else "num_key_value_heads"
            yield _renamed(names, name), _interleaved(values, int(config[key]))
        else:
            yield _renamed(names, name), values


def _interleaved(values: Array, heads: int) -> Array:
    """Return rows in the order x0, x_half, x1, … of each head instead of x0, x1, …, x_half, …."""
    width = values.shape[0] // heads
    return values.reshape(heads, 2, width // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _renamed(names: Any, name: str) -> str:
    # The map knows module names; a router's bias is a tensor without a module of its own.
    name = name.replace(".e_score_correction_bias", ".e_score_correction.bias")
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if found is None:
        raise PolicyError(f"gguf knows no name for {name}")
    return str(found)


def _stored(folder: Path) -> Iterator[tuple[str, Array]]:
    from safetensors import safe_open

    index = folder / INDEX_FILE
    files = set(_json(index)["weight_map"].values()) if index.exists() else {SINGLE_FILE}
    for file in sorted(files):
        with safe_open(folder / file, framework="pt") as tensors:
            # In the order of layers and experts, so that few stacks are open at a time.
            for name in sorted(tensors.keys(), key=_natural):
                yield name, tensors.get_tensor(name).float().numpy()


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split(".")]


def _json(file: Path) -> JsonDict:
    return dict(json.loads(file.read_text(encoding="utf-8")))
