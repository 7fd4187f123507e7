"""LoRA on the wire: engines get the adapters alone and add them to the base that they have on disk.

    base = AdapterBase(scale, "bfloat16", {name: BaseTensor("F32", digest), …})     made once by the learner's end
    for tensors in BaseWeights(base, folder).add(adapters): …                        W + (α/r) B A, layer by layer

The stream holds A and B of every adapted matrix in float32, with a digest each like any tensor. The base is the folder
of the policy, which an engine loads anyway when it starts; every tensor of it is compared with the learner's by digest
at each update, so that a folder that is another one, or was damaged, is found. What the engine then loads is a whole
checkpoint, and all proofs of a whole stream hold: every parameter filled, read back, the canary.

An adapter's tensor is named by its matrix, of routed experts by the fused one:

    model.layers.0.self_attn.q_proj.lora_A.weight    model.layers.1.mlp.experts.lora_A.gate_up_proj (E, r, D)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rollout.errors import WeightSyncError
from rollout.layer_names import layer_of

if TYPE_CHECKING:
    from torch import Tensor

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@dataclass(frozen=True)
class BaseTensor:
    """A tensor of the base as the learner holds it."""

    dtype: str
    """safetensors' name; "BF16" where the learner has rounded a matrix (policy.lora.frozen_dtype)."""
    digest: str
    """Result of `rollout.wire.digest` in this dtype."""


@dataclass(frozen=True)
class AdapterBase:
    """What the adapters of a stream are added to."""

    scale: float
    """α/r."""
    dtype: str
    """Name of the torch dtype in which sums are loaded, as tensors of a whole stream travel."""
    tensors: Mapping[str, BaseTensor]
    """All tensors that the engine reads, by checkpoint name."""


class BaseWeights:
    """One update of an engine: the base's layers with a stream's adapters."""

    def __init__(self, base: AdapterBase, folder: Path) -> None:
        """Open the base.

        Raises:
            WeightSyncError: the folder's weights cannot be read.
        """
        from policies.errors import PolicyError
        from policies.facts import stored_tensors
        from policies.tensor_files import PieceReader

        self._base, self._folder, self._reader = base, folder, PieceReader()
        try:
            self._stored = stored_tensors(folder)
        except PolicyError as error:
            raise WeightSyncError(f"the base of the adapters cannot be read: {error}") from error
        self._left = {
            unit: list(names)
            for unit, names in groupby(base.tensors, key=lambda name: layer_of(name) or name)
        }
        """Names by layer, of the layers that were not loaded yet."""

    def add(self, adapters: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Yield, one layer at a time, the tensors of the layers that these adapters belong to.

        Args:
            adapters: of whole layers.

        Raises:
            WeightSyncError: the base differs from the learner's; names the tensor.
        """
        for unit, group in groupby(adapters.items(), key=lambda item: layer_of(item[0])):
            yield self._layer(unit, dict(group))

    def rest(self) -> Iterator[dict[str, Tensor]]:
        """Yield the tensors of all other layers, and those outside of layers; then the folder is closed."""
        for unit in list(self._left):
            yield self._layer(unit, {})
        self._reader.close()

    def _layer(self, unit: str, adapters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        import torch

        from rollout.wire import dtype_on_wire

        found: dict[str, Tensor] = {}
        unused = set(adapters)
        for name in self._left.pop(unit, []):
            tensor = self._read(name)
            pair = _pair_of(name)
            if pair is not None and pair.first in adapters:
                first, second = (adapters[key] for key in (pair.first, pair.second))
                unused -= {pair.first, pair.second}
                if pair.expert is not None:
                    first, second = first[pair.expert], second[pair.expert]
                if pair.half is not None:
                    second = second.chunk(2)[pair.half]
                tensor = tensor.float() + (second @ first) * self._base.scale
            found[name] = tensor.to(dtype_on_wire(name, tensor.dtype, getattr(torch, self._base.dtype)))
        if unused:
            raise WeightSyncError(f"the base has no matrix for the adapter {min(unused)}")
        return found

    def _read(self, name: str) -> Tensor:
        import torch

        from policies.errors import PolicyError
        from policies.tensor_files import Piece, whole_region
        from rollout.wire import DTYPES, digest

        wanted = self._base.tensors[name]
        source = (
            HEAD if name == EMBEDDING and name not in self._stored else name
        )  # a tied pair is stored once
        if source not in self._stored:
            raise WeightSyncError(f"the base of the adapters, {self._folder}, has no {name}")
        file, shape = self._stored[source]
        region = whole_region(shape)
        tensor = torch.empty(shape, dtype=DTYPES[wanted.dtype])
        try:
            self._reader.read(tensor, region, [Piece(file, source, region)])
        except PolicyError as error:
            raise WeightSyncError(f"the base of the adapters cannot be read: {error}") from error
        if digest(tensor) != wanted.digest:
            raise WeightSyncError(
                f"the base of the adapters, {self._folder}, has another {name} than the learner's"
            )
        return tensor


@dataclass(frozen=True)
class _Pair:
    """The adapter of one matrix of a checkpoint."""

    first: str
    second: str
    expert: int | None = None
    half: int | None = None
    """0: gate, 1: up of the fused tensor."""


def _pair_of(name: str) -> _Pair | None:
    """Return where the adapter of a checkpoint's matrix would be; None for what never has one."""
    module, _, kind = name.rpartition(".")
    if kind != "weight":
        return None
    owner, _, last = module.rpartition(".")
    experts, _, number = owner.rpartition(".")
    if experts.endswith(".experts") and number.isdigit():
        fused = "down_proj" if last == "down_proj" else "gate_up_proj"
        half = {"gate_proj": 0, "up_proj": 1}.get(last)
        return _Pair(f"{experts}.lora_A.{fused}", f"{experts}.lora_B.{fused}", int(number), half)
    return _Pair(f"{module}.lora_A.weight", f"{module}.lora_B.weight")
