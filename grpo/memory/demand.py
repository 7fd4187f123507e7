"""What each GPU, or a machine without GPUs, has to hold in a run: ranks and engines together. Pure arithmetic.

    demands(shape, machine)     [Demand("a GPU of an engine and a rank", "update", {...}, limit), …]

An engine and a rank on one GPU take turns: while the rank trains the engine sleeps, while the engine samples the rank
keeps its weights and moments. On a CPU an engine gives back its cache, and keeps its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grpo.memory.activations import ELEMENT
from grpo.memory.model import GIB, MIB, Kind, RankMemory, RankRun, rank_memory
from policies.json_types import JsonMapping
from policies.parts import tensors
from policies.sizes import policy_size
from rollout.config import SHARE_ALONE, SHARE_BESIDE_LEARNER, EngineConfig

CPU_ENGINE = 700 * MIB
"""An engine's process on a CPU before it loads a policy: Python, torch and vLLM (measured)."""
CPU_LIBRARIES = 150 * MIB
"""The part of a learner's process that processes share: the pages of its libraries (measured)."""
CPU_DRIVER = 650 * MIB
"""Ray's own processes, the driver and a reward worker (measured, benchmarks/results/grpo_step.json)."""
GPU_ASLEEP = 1.0 * GIB
"""What a sleeping engine keeps on its GPU: context and kernels (estimated, not measured)."""
CPU_CACHE_GIB = 1.0
"""engine.kv_cache_gib on a CPU where the recipe is silent (rollout/vllm_settings.py)."""


@dataclass(frozen=True)
class Machine:
    """What there is."""

    gpus: int
    """Of all nodes together; 0 for a machine without."""
    bytes: float
    """Of one GPU, or of the machine without GPUs."""
    name: str = ""
    """For the screen, e.g. "H800", "this machine"."""


@dataclass(frozen=True)
class RunShape:
    """The part of a run that its memory depends on."""

    config: JsonMapping
    """The policy's config.json."""
    rank: RankRun | None
    """None where nothing is trained."""
    engine: EngineConfig | None
    """None where nothing is sampled."""
    engine_dtype: str
    """Of the engine's weights."""
    context: int | None = None
    """Tokens of the longest prompt and completion; None where nobody knows."""
    placement: str = "auto"
    """The recipe's key."""


@dataclass(frozen=True)
class Demand:
    """Bytes by kind in one place, at the moment when they are most."""

    place: str
    """E.g. "GPU of a rank"."""
    moment: str
    """"update", "logprobs", "load", "rollout"."""
    kinds: Mapping[str, float]
    limit: float

    @property
    def bytes(self) -> float:
        """The sum."""
        return sum(self.kinds.values())


def demands(shape: RunShape, machine: Machine) -> list[Demand]:
    """Return the demand of each kind of place, at its worst moment."""
    memory = rank_memory(shape.rank) if shape.rank else None
    if not machine.gpus:
        return [_host(shape, memory, machine)]
    if memory is None or shape.rank is None or shape.engine is None:
        alone = [_rank_alone(memory, machine)] if memory else []
        return alone + ([_engine_alone(shape, machine)] if shape.engine else [])
    if takes_turns(shape, machine.gpus):
        return [_together(shape, memory, machine)]
    return [_rank_alone(memory, machine), _engine_alone(shape, machine)]


def takes_turns(shape: RunShape, gpus: int) -> bool:
    """Return True if ranks sit on the engines' GPUs, as grpo/cluster/placement.py decides it."""
    if shape.engine is None or shape.rank is None or not gpus:
        return False
    if shape.placement != "auto":
        return shape.placement == "colocated"
    return gpus < shape.engine.workers * shape.engine.tensor_parallel + shape.rank.learner.ranks


def engine_weights(shape: RunShape) -> float:
    """Return the bytes of an engine's weights on each of its GPUs."""
    assert shape.engine is not None
    count = sum(t.count for t in tensors(shape.config))
    return ELEMENT[shape.engine_dtype] * count / shape.engine.tensor_parallel


def one_sequence(shape: RunShape) -> float:
    """Return the bytes of keys and values of the longest sequence, on each GPU of its engine; 0 if nobody knows it."""
    assert shape.engine is not None
    context = shape.engine.max_model_len or shape.context or 0
    size = policy_size(shape.config)
    parts = 1 if "kv_lora_rank" in shape.config else shape.engine.tensor_parallel
    return float(ELEMENT[shape.engine_dtype] * size.cache * context / parts)


def _rank_alone(memory: RankMemory, machine: Machine) -> Demand:
    return Demand("GPU of a rank", memory.peak, memory.kinds[memory.peak], machine.bytes)


def _engine_alone(shape: RunShape, machine: Machine, beside: bool = False) -> Demand:
    kinds = {"engine weights": engine_weights(shape), "cache": one_sequence(shape)}
    return Demand("GPU of an engine", "rollout", kinds, machine.bytes * memory_share(shape, beside))


def memory_share(shape: RunShape, beside: bool) -> float:
    """Return the part of a GPU that an engine takes while it samples."""
    assert shape.engine is not None
    if "gpu_memory_share" in shape.engine.model_fields_set and shape.engine.gpu_memory_share is not None:
        return shape.engine.gpu_memory_share
    return SHARE_BESIDE_LEARNER if beside else SHARE_ALONE


def _together(shape: RunShape, memory: RankMemory, machine: Machine) -> Demand:
    place = "GPU of an engine and a rank"
    asleep = {**memory.kinds[memory.peak], "sleeping engine": GPU_ASLEEP}
    training = Demand(place, memory.peak, asleep, machine.bytes)
    taken = machine.bytes * memory_share(shape, beside=True)
    engine = {"engine weights": engine_weights(shape)}
    # The cache gets what the share leaves, and at least the longest sequence.
    engine["cache"] = max(one_sequence(shape), taken - engine["engine weights"])
    sampling = Demand(place, "rollout", {**resident(memory), **engine}, machine.bytes)
    return max(training, sampling, key=lambda demand: demand.bytes)


def resident(memory: RankMemory) -> dict[Kind, float]:
    """Return what a rank keeps while an engine samples."""
    return {kind: memory.kinds["update"].get(kind, 0.0) for kind in ("process", "weights", "moments")}


def _host(shape: RunShape, memory: RankMemory | None, machine: Machine) -> Demand:
    ranks = shape.rank.learner.ranks if shape.rank else 0
    own: dict[str, float] = {"Ray and driver": CPU_DRIVER}
    cache = 0.0
    if shape.engine:
        workers = shape.engine.workers
        own["engine weights"] = workers * (CPU_ENGINE + engine_weights(shape))
        cache = workers * (shape.engine.kv_cache_gib or CPU_CACHE_GIB) * GIB
    if memory is None:
        return Demand("this machine", "rollout", own | {"cache": cache}, machine.bytes)
    training = own | _of_all(memory.kinds[memory.peak], ranks)
    sampling = own | _of_all(resident(memory), ranks) | {"cache": cache}
    if sum(sampling.values()) > sum(training.values()):
        return Demand("this machine", "rollout", sampling, machine.bytes)
    return Demand("this machine", memory.peak, training, machine.bytes)


def _of_all(kinds: Mapping[Kind, float], ranks: int) -> dict[str, float]:
    """Return the bytes of all ranks on one machine, with the pages of their libraries once."""
    return {
        kind: ranks * value - ((ranks - 1) * CPU_LIBRARIES if kind == "process" else 0)
        for kind, value in kinds.items()
    }
