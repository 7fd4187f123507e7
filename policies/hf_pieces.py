"""Which tensors of a checkpoint make up a tensor of the model: transformers fuses a layer's experts in memory.

pieces("model.layers.1.mlp.experts.gate_up_proj", (8, 64, 32))
    →  ("….experts.0.gate_proj.weight", Region((0, 0, 0), (1, 32, 32))), ("….experts.0.up_proj.weight", …), …
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from policies.tensor_files import Region, whole_region

GATE_UP, DOWN = ".experts.gate_up_proj", ".experts.down_proj"


def pieces(name: str, shape: Sequence[int]) -> Iterator[tuple[str, Region]]:
    """Yield the checkpoint's name and the place of every part of a tensor of the model, in the order of exports."""
    if not name.endswith((GATE_UP, DOWN)):
        yield name, whole_region(shape)
        return
    experts, rows, columns = shape
    is_pair = name.endswith(GATE_UP)
    prefix = name.removesuffix("gate_up_proj" if is_pair else "down_proj")
    for expert in range(experts):
        if is_pair:
            half = rows // 2
            yield f"{prefix}{expert}.gate_proj.weight", Region((expert, 0, 0), (1, half, columns))
            yield f"{prefix}{expert}.up_proj.weight", Region((expert, half, 0), (1, half, columns))
        else:
            yield f"{prefix}{expert}.down_proj.weight", Region((expert, 0, 0), (1, rows, columns))


def stored_shape(name: str, region: Region) -> tuple[int, ...]:
    """Return the shape of a piece in its file; `name` is the model's."""
    return region.shape[1:] if name.endswith((GATE_UP, DOWN)) else region.shape
