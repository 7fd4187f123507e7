"""Bytes of one learner rank by kind, from the policy's config.json and the recipe's sections. Pure arithmetic.

    need = rank_memory(run)          need.total("update"), need.kinds["update"]["moments"]

A rank holds 1/parts of every tensor (grpo/config/mesh.py): weights, gradients and moments shrink with the mesh, what
depends on tokens does not. Three moments of a run matter, and its peak is the largest of them:

    load      the policy as it is read
    logprobs  weights and moments, the reference's pass over a micro-batch
    update    weights, gradients and moments, a micro-batch's activations, the chunk of logits

The figures are central estimates of the peak, without what an allocator wastes on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from grpo.config.mesh import Mesh, mesh_of
from grpo.config.sections import LearnerConfig, LoraConfig, OptimizerConfig
from grpo.memory.activations import ELEMENT, attention_widths, saved
from policies.adapters import adapted
from policies.json_types import JsonMapping
from policies.limits import GATHERED_ELEMENTS
from policies.parts import Tensor, tensors

Kind = str
KINDS: tuple[Kind, ...] = (
    "process", "weights", "gradients", "moments", "reference", "gathered", "activations", "logits", "heap"
)  # fmt: skip
Moment = Literal["load", "logprobs", "update"]
MOMENTS: tuple[Moment, ...] = ("load", "logprobs", "update")
MIB, GIB = 2**20, 2**30

MASTER = 4
"""Bytes of a trained weight and of its gradient: float32."""
CPU_PROCESS = 425 * MIB
"""A learner's process before it loads a policy: Python, torch, transformers and their libraries (measured)."""
GPU_PROCESS = 1.5 * GIB
"""A process on a GPU: CUDA context, the libraries' kernels and workspaces, NCCL's buffers (estimated, not measured)."""
PIECE_BYTES = 4 * 2**24
"""Four float32 pieces of the elementwise work on a chunk of logits (PIECE_ELEMENTS in policies/logprobs.py)."""
CPU_HOLES, CPU_HOLES_LORA = 0.95, 1.35
"""Pages of the C library's heap between the tensors that a forward keeps, as a fraction of those tensors (measured by
benchmarks/memory_plan.py): temporaries come and go between them."""
RECOMPUTE_HOLES = 1 / 3
"""The part of these that is left with recompute, which returns free pages before each backward (measured)."""
GATHERED_AT_ONCE = 2
"""Layers whose whole weights exist at a time: the one that computes and the next, which is fetched meanwhile."""


@dataclass(frozen=True)
class RankRun:
    """What decides the memory of a rank."""

    config: JsonMapping
    """The policy's config.json."""
    learner: LearnerConfig
    optimizer: OptimizerConfig
    lora: LoraConfig | None = None
    mtp_layers: int = 0
    """Layers of multi-token prediction with weights in the folder."""
    trains_mtp: bool = False
    """They are trained; else they are held, frozen, and do not run."""
    unshared: float = 1.0
    """Tokens that those layers see, per packed token: in RL every completion stands behind a prompt of its own."""
    has_reference: bool = False
    """True with a KL term: a second set of the trained weights."""
    dtype: str = "bfloat16"
    """Of the matrix products."""
    device: str = "cuda"
    """"cuda" or "cpu"."""
    most_tokens: int | None = None
    """Tokens that a micro-batch can have at most, where a batch is smaller than learner.tokens_per_micro_batch."""

    @property
    def tokens(self) -> int:
        """Packed tokens of a micro-batch on this rank."""
        wanted = self.learner.tokens_per_micro_batch
        return -(-min(wanted, self.most_tokens or wanted) // self.learner.mesh.context)


@dataclass(frozen=True)
class RankMemory:
    """Bytes of one rank, by moment and kind."""

    kinds: Mapping[Moment, Mapping[Kind, float]]
    elements: int
    """Elements of the policy that the rank holds."""

    def total(self, moment: Moment) -> float:
        """Return the bytes at a moment."""
        return sum(self.kinds[moment].values())

    @property
    def peak(self) -> Moment:
        """The moment at which the rank needs most."""
        return max(MOMENTS, key=self.total)

    @property
    def bytes(self) -> float:
        """The bytes at the peak."""
        return self.total(self.peak)


def rank_memory(run: RankRun) -> RankMemory:
    """Return the memory of rank 0, which holds the larger part where a tensor does not divide evenly.

    Raises:
        ValueError, KeyError: the policy's family is not known, or a size is missing.
    """
    mesh = mesh_of(run.learner)
    listed = tensors(run.config, run.mtp_layers)
    running = [t for t in listed if run.trains_mtp or t.layer is None or t.layer < _main_layers(run)]
    trained, frozen = _split(run, listed)
    element = ELEMENT[run.dtype]
    halved = [t for t in frozen if _is_halved(run, t)]
    own_trained, own_frozen = _local(trained, mesh), _local(frozen, mesh)
    weights = float(
        MASTER * (own_trained + own_frozen) - (MASTER - ELEMENT["bfloat16"]) * _local(halved, mesh)
    )
    # Moments on the host take none of a GPU's memory; on a CPU the host is the device.
    is_offloaded = run.learner.offload_optimizer and run.device != "cpu"
    moments = 0.0 if is_offloaded else 2.0 * ELEMENT[run.optimizer.moments] * own_trained
    kept: dict[Kind, float] = {
        "process": CPU_PROCESS if run.device == "cpu" else GPU_PROCESS,
        "weights": weights,
        "moments": moments,
    }
    reference = sum(
        _local([t], mesh) * (element if len(t.shape) >= 2 and t.part != "embedding" else MASTER)
        for t in trained
    )
    if mesh.parts > 1:  # the policy's values wait beside the reference's, which on a GPU come from the host
        reference = MASTER * own_trained + (0 if run.device != "cpu" else reference)
    gathered = _gathered(run, running, mesh)
    activations = _activations(run, running)
    update: dict[Kind, float] = kept | {
        "gradients": float(MASTER * own_trained),
        "gathered": gathered,
        "activations": activations,
        "logits": _logits(run, mesh, trains_head=any(t.part in ("head", "embedding") for t in trained)),
        "heap": _holes(run),
    }
    logprobs: dict[Kind, float] = kept | {
        "reference": float(reference) if run.has_reference else 0.0,
        "gathered": gathered,
        "activations": max(saved(run.config, run.dtype, run.device).layers) * run.tokens,
        "logits": _logits(run, mesh, trains_head=False),
    }
    # On a CPU the reference is written to a file whose pages stay until its first use is over.
    load = kept | ({"reference": logprobs["reference"]} if run.device == "cpu" else {})
    return RankMemory({"load": load, "logprobs": logprobs, "update": update}, own_trained + own_frozen)


def _is_halved(run: RankRun, tensor: Tensor) -> bool:
    """Tell if a frozen tensor is stored in bfloat16 (policies.lora.store_frozen), which needs no rounded copy."""
    if run.lora is None or run.lora.frozen_dtype == "float32":
        return False
    return len(tensor.shape) >= 2 and tensor.part not in ("embedding", "router")


def _holes(run: RankRun) -> float:
    if run.device != "cpu":
        return 0.0
    kept = sum(_kept_by_layer(run))
    return (
        (CPU_HOLES_LORA if run.lora else CPU_HOLES) * kept * (RECOMPUTE_HOLES if run.learner.recompute else 1)
    )


def _split(run: RankRun, listed: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the trained tensors, of adapters if there are any, and the frozen ones."""
    main = _main_layers(run)
    if run.lora is None:
        last = main + (run.mtp_layers if run.trains_mtp else 0)
        trained = [t for t in listed if not t.is_buffer and (t.layer is None or t.layer < last)]
        names = {t.name for t in trained}
        return trained, [t for t in listed if t.name not in names]
    return list(_adapters(run.lora, listed, main)), list(listed)


def _main_layers(run: RankRun) -> int:
    found: int = run.config["num_hidden_layers"]
    return found


def _kept_by_layer(run: RankRun) -> list[float]:
    """Return the bytes that each layer's forward keeps for its backward, those of multi-token prediction last."""
    kept = saved(run.config, run.dtype, run.device)
    found = [size * run.tokens for size in kept.layers]
    if run.trains_mtp:
        found += [kept.mtp_layer * run.tokens * run.unshared] * run.mtp_layers
    return found


def _adapters(lora: LoraConfig, listed: Iterable[Tensor], main: int) -> Iterator[Tensor]:
    """Yield A and B of each tensor that gets an adapter; those of routed experts are fused as the experts are."""
    decoder = [tensor for tensor in listed if tensor.layer is not None and tensor.layer < main]
    for tensor, name in adapted(decoder, lora.targets):
        *experts, out, inner = tensor.shape
        yield Tensor(f"{name}.lora_A", (*experts, lora.rank, inner), tensor.part, tensor.layer)
        yield Tensor(f"{name}.lora_B", (*experts, out, lora.rank), tensor.part, tensor.layer)


def _local(listed: Iterable[Tensor], mesh: Mesh) -> int:
    """Return the elements of rank 0: tensors are cut along their first axis, experts first over the expert axis."""
    total = 0
    for tensor in listed:
        rows, rest = tensor.shape[0], tensor.count // tensor.shape[0]
        if tensor.part == "experts":
            experts = -(-rows // mesh.expert)
            cut = experts if experts >= mesh.expert_parts else tensor.shape[1]
            total += (experts * rest // cut) * -(-cut // mesh.expert_parts)
        else:
            total += -(-rows // mesh.parts) * rest
    return total


def _gathered(run: RankRun, listed: Iterable[Tensor], mesh: Mesh) -> float:
    """Return the bytes of whole layers that exist while they compute, and of one layer's whole gradient."""
    if mesh.parts == 1:
        return 0.0
    by_layer: dict[int | None, float] = {}
    for tensor in listed:
        whole = tensor.count / mesh.expert if tensor.part == "experts" else tensor.count
        by_layer[tensor.layer] = by_layer.get(tensor.layer, 0.0) + whole
    layer = max((size for index, size in by_layer.items() if index is not None), default=0.0)
    gradient = 0.0 if run.lora is not None else MASTER * layer
    return GATHERED_AT_ONCE * GATHERED_ELEMENT * layer + gradient


GATHERED_ELEMENT = 4
"""Bytes of a gathered weight: master weights travel in float32, and are rounded where they are used."""


def _activations(run: RankRun, listed: Iterable[Tensor]) -> float:
    """Return what a micro-batch's forward keeps, with the rounded copies of the weights that its products read."""
    kept = saved(run.config, run.dtype, run.device)
    casts: dict[int, float] = {}
    for tensor in listed:
        if _is_halved(run, tensor):
            continue
        if tensor.layer is not None and len(tensor.shape) >= 2 and run.dtype != "float32":
            held = tensor.count / (run.learner.mesh.expert if tensor.part == "experts" else 1)
            casts[tensor.layer] = casts.get(tensor.layer, 0.0) + ELEMENT[run.dtype] * held
    layers = _kept_by_layer(run)
    if run.learner.recompute:
        one = max(layers) + max(casts.values(), default=0.0)
        # A layer of multi-token prediction has two inputs: states, and embeddings of the tokens ahead.
        inputs = len(kept.layers) + (2 * run.unshared * run.mtp_layers if run.trains_mtp else 0)
        return inputs * kept.layer_input * run.tokens + one + _exchanged(run)
    return sum(layers) + sum(casts.values()) + _exchanged(run)


def _exchanged(run: RankRun) -> float:
    """Return the bytes of one layer's keys and values of all ranks, and of their gradients and sums over ranks."""
    context = run.learner.mesh.context
    if context == 1:
        return 0.0
    element = 4 if run.device == "cpu" else ELEMENT[run.dtype]
    queries, keys_and_values, values = attention_widths(run.config)
    tokens = run.tokens * context
    share = min(1.0, GATHERED_ELEMENTS / (tokens * keys_and_values))  # heads take turns
    # The kernels read and write as many heads as the queries have; what travels has the keys' own.
    return float(share * tokens * (2 * element * (queries + values) + 2 * MASTER * keys_and_values))


def _logits(run: RankRun, mesh: Mesh, trains_head: bool) -> float:
    """Return the bytes of the head: a chunk of logits, the rounded head, and its gradient in float32."""
    vocab, hidden = run.config["vocab_size"], run.config["hidden_size"]
    element = ELEMENT[run.dtype]
    head = vocab * hidden
    chunk = min(run.learner.logit_chunk_tokens, run.tokens)
    found = element * chunk * vocab + min(PIECE_BYTES, 16 * chunk * vocab)
    if element != MASTER:
        found += element * head
    if mesh.parts > 1:  # gathered whole, and so is the embedding or the tied gradient
        found += MASTER * head
    if trains_head:
        found += MASTER * head + (element * head if element != MASTER else 0)
    return float(found)
