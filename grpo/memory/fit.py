"""Whether a run fits its machine; if not, what is too large, and the cheapest keys to change with what they save. Pure.

problem(shape, machine)     None, or "an update needs 31.2 GiB of …; learner.recompute = true saves 3.1 GiB; …"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from grpo.config.sections import LearnerConfig, LoraConfig
from grpo.memory.demand import Demand, Machine, RunShape, demands, takes_turns
from grpo.memory.model import GIB
from policies.json_types import JsonDict

SURE = 0.9
"""A run is refused if this part of the estimate is more than there is: the model's error is within a tenth."""
WORTH = 0.02
"""Part of the demand that a key must save to be named."""
NAMED = 3
LARGEST = 3
LORA_RANK = 16


@dataclass(frozen=True)
class Knob:
    """A key to change, and the run with it changed."""

    text: str
    shape: RunShape


@dataclass(frozen=True)
class Saving:
    """What a knob saves where memory is short."""

    text: str
    bytes: float
    fits: bool
    """True if the run fits with this knob alone."""


def worst(shape: RunShape, machine: Machine) -> Demand:
    """Return the demand that is the largest part of its limit."""
    return max(demands(shape, machine), key=lambda demand: demand.bytes / demand.limit)


def problem(shape: RunShape, machine: Machine) -> str | None:
    """Return why a run cannot fit and what to change; None if it may fit."""
    demand = worst(shape, machine)
    if SURE * demand.bytes <= demand.limit:
        return None
    return f"{describe(demand, machine)}; {advice(shape, machine)}"


def warning(shape: RunShape, machine: Machine) -> str | None:
    """Return a line on a run that is near its limit: it may fit, and is not refused."""
    demand = worst(shape, machine)
    if demand.bytes <= demand.limit or SURE * demand.bytes > demand.limit:
        return None
    return f"memory is short: {describe(demand, machine)}; {advice(shape, machine)}"


def describe(demand: Demand, machine: Machine) -> str:
    """Return how much is needed where, and the largest parts of it."""
    parts = sorted(demand.kinds.items(), key=lambda item: -item[1])[:LARGEST]
    listed = ", ".join(f"{kind} {_gib(size)}" for kind, size in parts)
    what = {"update": "an update", "logprobs": "the log-probs", "load": "loading", "rollout": "sampling"}
    place = f"the {demand.place} ({machine.name})" if machine.gpus else "this machine"
    return (
        f"{what[demand.moment]} needs about {_gib(demand.bytes)} on {place}, which has {_gib(demand.limit)} for it "
        f"({listed})"
    )


def advice(shape: RunShape, machine: Machine) -> str:
    """Return the cheapest knobs and what they save."""
    found = savings(shape, machine)
    if not found:
        return "no key saves enough; take a smaller policy or a larger machine"
    return "; ".join(f"{s.text} saves {_gib(s.bytes)}{', and then it fits' if s.fits else ''}" for s in found)


def savings(shape: RunShape, machine: Machine) -> list[Saving]:
    """Return the cheapest knobs that save something; one that makes the run fit alone is among them, if any does."""
    before = worst(shape, machine)
    found = []
    for knob in knobs(shape, machine):
        after = worst(knob.shape, machine)
        same = next((d for d in demands(knob.shape, machine) if d.place == before.place), after)
        saved = before.bytes - same.bytes
        if saved > WORTH * before.bytes:
            found.append(Saving(knob.text, saved, after.bytes <= after.limit))
    named = found[:NAMED]
    if found and not any(s.fits for s in named):
        named[NAMED - 1 :] = next(([s] for s in found[NAMED - 1 :] if s.fits), found[NAMED - 1 : NAMED])
    return named


def knobs(shape: RunShape, machine: Machine) -> Iterator[Knob]:
    """Yield the keys that save memory, from those that cost nothing to those that change the training."""
    rank, engine = shape.rank, shape.engine
    if rank is not None:
        learner, tokens = rank.learner, rank.tokens * rank.learner.mesh.context
        if learner.logit_chunk_tokens > 128:
            yield _learner(shape, "learner.logit_chunk_tokens = 128", {"logit_chunk_tokens": 128})
        if tokens >= 1024:
            half = tokens // 2
            text = f"learner.tokens_per_micro_batch = {half}"
            yield _learner(shape, text, {"tokens_per_micro_batch": half})
        if rank.optimizer.moments == "float32":
            optimizer = rank.optimizer.model_copy(update={"moments": "bfloat16"})
            yield Knob(
                'optimizer.moments = "bfloat16"', replace(shape, rank=replace(rank, optimizer=optimizer))
            )
        if not learner.recompute:
            yield _learner(shape, "learner.recompute = true", {"recompute": True})
        if machine.gpus and not learner.offload_optimizer:
            yield _learner(shape, "learner.offload_optimizer = true", {"offload_optimizer": True})
        if rank.lora is not None and rank.lora.frozen_dtype == "float32" and rank.dtype == "bfloat16":
            lora = rank.lora.model_copy(update={"frozen_dtype": "bfloat16"})
            yield Knob('policy.lora.frozen_dtype = "bfloat16"', replace(shape, rank=replace(rank, lora=lora)))
        yield from _mesh(shape, machine)
    if engine is not None:
        yield from _engine(shape, machine)
    if rank is not None and rank.lora is None:
        text = f"policy.lora = {{ rank = {LORA_RANK} }}"
        yield Knob(text, replace(shape, rank=replace(rank, lora=LoraConfig(rank=LORA_RANK))))


def _engine(shape: RunShape, machine: Machine) -> Iterator[Knob]:
    engine = shape.engine
    assert engine is not None
    if not machine.gpus and (cache := engine.kv_cache_gib or 1.0) > 0.25:
        yield _with_engine(shape, f"engine.kv_cache_gib = {cache / 4:g}", {"kv_cache_gib": cache / 4})
    if machine.gpus >= 2 * engine.tensor_parallel and not shape.config.get("n_routed_experts"):
        wider = 2 * engine.tensor_parallel
        if shape.config["num_attention_heads"] % wider == 0:
            yield _with_engine(shape, f"engine.tensor_parallel = {wider}", {"tensor_parallel": wider})
    if engine.workers > 1:
        yield _with_engine(shape, "engine.workers = 1", {"workers": 1})
    if takes_turns(shape, machine.gpus):
        yield _with_engine(shape, "engine.gpu_memory_share = 0.3", {"gpu_memory_share": 0.3})


def _mesh(shape: RunShape, machine: Machine) -> Iterator[Knob]:
    assert shape.rank is not None
    learner = shape.rank.learner
    if learner.mesh.replicate > 1:
        mesh = learner.mesh.model_copy(update={"replicate": 1})
        yield _learner(shape, "learner.mesh.replicate = 1", {"mesh": mesh})
    experts = int(shape.config.get("n_routed_experts") or 0)
    copy = learner.ranks // learner.mesh.replicate
    wider = [e for e in (8, 16, 32, 64) if experts % e == 0 and copy % e == 0] if experts else []
    if wider and wider[-1] > learner.mesh.expert:
        mesh = learner.mesh.model_copy(update={"expert": wider[-1]})
        yield _learner(shape, f"learner.mesh.expert = {wider[-1]}", {"mesh": mesh})
    if not machine.gpus and learner.ranks > 1 and learner.mesh == type(learner.mesh)():
        yield _learner(shape, "learner.ranks = 1", {"ranks": 1})
    if machine.gpus > learner.ranks:
        yield _learner(shape, f"learner.ranks = {machine.gpus}", {"ranks": machine.gpus})


def _learner(shape: RunShape, text: str, update: JsonDict) -> Knob:
    assert shape.rank is not None
    learner: LearnerConfig = shape.rank.learner.model_copy(update=update)
    return Knob(text, replace(shape, rank=replace(shape.rank, learner=learner)))


def _with_engine(shape: RunShape, text: str, update: JsonDict) -> Knob:
    assert shape.engine is not None
    return Knob(text, replace(shape, engine=shape.engine.model_copy(update=update)))


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB" if size >= 0.1 * GIB else f"{size / 2**20:,.0f} MiB"
