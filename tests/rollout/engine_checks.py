"""Everything that needs a real engine, in one process: `python -m tests.rollout.engine_checks FOLDER`.

Importing vLLM takes ten seconds and starting an engine on a tiny policy two, so all families share a process.
Writes FOLDER/report.json, which the tests read. The reference is a plain transformers forward (eager
attention, float32, one prompt at a time): it shares no code with the engine or with `policies`.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from vllm.model_executor.custom_op import op_registry_oot
from vllm.model_executor.layers.fused_moe.router.cpu_router import CPURouter

from grpo.tools.policy_parity import measure
from policies.export import save_policy
from policies.hf_names import named_tensors
from policies.load import load_policy
from policies.logprobs import sequence_logprobs
from policies.lora import adapter_tensors
from policies.mtp import is_mtp_tensor
from policies.presets import new_policy, tiny_config
from rollout import vllm_sampling, vllm_settings, vllm_weights, wire
from rollout.canary import Canary
from rollout.chunks import make_chunks
from rollout.config import EngineConfig
from rollout.errors import RolloutError
from rollout.publication import Head, Publication, Tail, Window
from rollout.transport.sender import publish
from rollout.types import Prompt, RolloutChunk, SampleGroup, SamplingParams
from rollout.vllm_engine import VllmEngine
from tests.policies.documented_family import added, documented_family
from tests.policies.released_folders import LITE, random_tensors, write
from tests.rollout.adapters import base_of, with_adapters
from tests.rollout.families import EVERYDAY, FAMILIES, STOP, VOCABULARY, add_tokenizer, policy, save

CONFIG = EngineConfig(dtype="float32", threads=1, kv_cache_gib=0.1, max_sequences=24, max_batched_tokens=1024)
WINDOW_BYTES = 2**18
RNG = np.random.default_rng(0)
PROMPTS = [tuple(int(i) for i in RNG.integers(2, VOCABULARY, n)) for n in (5, 17, 40, 70, 110)]


class Reference:
    """transformers' own forward on a saved folder."""

    def __init__(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32, experts_implementation="eager"
        ).eval()
        main = model.config.num_hidden_layers
        self.tensors = [(n, t.clone()) for n, t in named_tensors(model) if not is_mtp_tensor(n, main)]

    @torch.no_grad()
    def logprobs(self, token_ids: tuple[int, ...], temperature: float = 1.0) -> torch.Tensor:
        """(n-1, V) log-probs after each token but the last."""
        logits = self.model(torch.tensor([token_ids])).logits[0, :-1].float()
        return (logits / temperature).log_softmax(-1)

    def of_tokens(self, token_ids: tuple[int, ...], temperature: float = 1.0) -> np.ndarray:
        """(n-1,) log-probs of tokens 1 …."""
        index = torch.tensor(token_ids[1:])[:, None]
        return self.logprobs(token_ids, temperature).gather(1, index)[:, 0].numpy()

    @torch.no_grad()
    def experts(self, token_ids: tuple[int, ...]) -> dict[int, np.ndarray]:
        """(n, K) experts that transformers' own routers choose, by layer."""
        found: dict[int, np.ndarray] = {}

        def note(layer: int, _module: Any, _inputs: Any, output: Any) -> None:
            found[layer] = output[2].numpy()

        hooks = [
            layer.mlp.gate.register_forward_hook(partial(note, number))
            for number, layer in enumerate(self.model.model.layers)
            if hasattr(layer.mlp, "gate")
        ]
        self.model(torch.tensor([token_ids]))
        for hook in hooks:
            hook.remove()
        return found

    def entropy_share(self) -> float:
        """Mean entropy over the prompts' positions, as a share of the uniform distribution's."""
        rows = torch.cat([self.logprobs(p) for p in PROMPTS])
        return float(-(rows.exp() * rows).sum(-1).mean() / np.log(VOCABULARY))

    def publish(self, version: int, **changes: Any) -> Publication:
        """Its weights with a canary, a layer or two to a window."""
        canary = [Canary(p, self.of_tokens(p)) for p in PROMPTS]
        settings = {"canary": canary, "window_bytes": WINDOW_BYTES} | changes
        return publish(dict(settings.pop("tensors", self.tensors)), version, **settings)


@dataclass
class Tampered:
    """A publication whose windows are changed on the way; None drops one."""

    publication: Publication
    change: Callable[[Window], Window | None]

    def begin(self, readers: Sequence[str], *, with_canary: bool = True) -> Head:
        return self.publication.begin(readers, with_canary=with_canary)

    def windows(self, wait: Callable[[int], None]) -> Iterator[Window]:
        return (window for w in self.publication.windows(wait) if (window := self.change(w)) is not None)

    def finish(self) -> Tail:
        return self.publication.finish()


def one_bit(name: str, window: Window) -> Window:
    for entry in window.entries:
        if entry.name == name:
            window.place[entry.start + 5] ^= 1
    return window


def without(name: str, window: Window) -> Window:
    return replace(window, entries=tuple(e for e in window.entries if e.name != name))


def swapped(first: str, second: str, window: Window) -> Window:
    starts = {e.name: e.start for e in window.entries}
    if first not in starts:
        return window
    starts |= {first: starts[second], second: starts[first]}
    return replace(window, entries=tuple(replace(e, start=starts[e.name]) for e in window.entries))


def live(engine: VllmEngine) -> Any:
    """vLLM's model."""
    return engine._engine.model_executor.driver_worker.worker.model_runner.get_model()


def stale_norm(model: Any, _: object) -> None:
    """As if the engine had not taken one parameter over."""
    norm = model.model.layers[1].input_layernorm.weight
    if not norm.is_meta:
        norm.data.fill_(1.0)


def swapped_norms(model: Any, _: object) -> None:
    """As if the engine had put two parameters into each other's place."""
    norms = [
        model.model.layers[1].input_layernorm.weight,
        model.model.layers[1].post_attention_layernorm.weight,
    ]
    if not any(norm.is_meta for norm in norms):
        copies = [norm.data.clone() for norm in norms]
        norms[0].data.copy_(copies[1])
        norms[1].data.copy_(copies[0])


def stale_product(layer: Any, old: Any, _: object) -> None:
    """As if the engine had not packed one matrix anew."""
    if not layer.weight.is_meta:
        layer.cpu_linear = old


def chunk(version: int, sampling: SamplingParams, group_size: int = 6) -> RolloutChunk:
    prompts = [Prompt(f"p{i}", "", ids, None) for i, ids in enumerate(PROMPTS)]
    (result,) = make_chunks(prompts, "test", 0, version, sampling, group_size, len(prompts))
    return result


def prompt_mismatch(engine: VllmEngine, reference: Reference) -> float:
    pairs = zip(engine.prompt_logprobs(PROMPTS), PROMPTS, strict=True)
    return max(float(np.abs(got - reference.of_tokens(p)).max()) for got, p in pairs)


def other_experts(engine: VllmEngine, reference: Reference) -> int | None:
    """Tokens and layers for which the engine chooses another set of experts; None if there are no experts."""
    wrong, seen = 0, 0
    for prompt in PROMPTS:
        ours, theirs = reference.experts(prompt), engine.prompt_experts(prompt)
        assert ours.keys() == theirs.keys()
        for layer, rows in ours.items():
            pairs = zip(rows.tolist(), theirs[layer].tolist(), strict=True)
            wrong += sum(set(a) != set(b) for a, b in pairs)
            seen += len(rows)
    return wrong if seen else None


def sample_mismatch(groups: list[SampleGroup], reference: Reference, temperature: float) -> float:
    worst = 0.0
    for group in groups:
        for sample in group.samples:
            ids = group.prompt.token_ids + tuple(sample.token_ids.tolist())
            expected = reference.of_tokens(ids, temperature)[len(group.prompt.token_ids) - 1 :]
            worst = max(worst, float(np.abs(expected - sample.logprobs).max()))
    return worst


def bits(groups: list[SampleGroup]) -> dict[tuple[str, int], tuple[bytes, bytes]]:
    return {
        (g.prompt.id, s.index): (s.token_ids.tobytes(), s.logprobs.tobytes())
        for g in groups
        for s in g.samples
    }


def drawn(engine: VllmEngine, work: RolloutChunk) -> list[SampleGroup]:
    """All groups of a chunk, in the order in which they ended."""
    return [group for groups in engine.generate(work) for group in groups]


def cache_entries(engine: VllmEngine) -> int:
    """Keys and values that are not zero: a page given back reads as zeros."""
    (count,) = engine._engine.collective_rpc(
        lambda worker: sum(int((cache != 0).sum()) for cache in worker.model_runner.kv_caches)
    )
    return count


def refusal(action: Callable[[], Any]) -> str:
    """Type and text of the error, "" if there was none."""
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Suite:
    """One folder, one report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report: dict[str, Any] = {}

    @contextmanager
    def engine(self, model_dir: Path, config: EngineConfig = CONFIG, version: int | None = 0) -> Any:
        engine = VllmEngine(model_dir, config, version)
        try:
            yield engine
        finally:
            engine.close()

    def run(self, name: str, check: Callable[[], dict[str, Any]]) -> None:
        try:
            self.report[name] = check()
        except Exception:
            self.report[name] = {"crash": traceback.format_exc()}

    def family(self, preset: str) -> dict[str, Any]:
        """Parity before and after a sync of all-new weights, by prompts and by samples at T ≠ 1."""
        old, new = policy(preset, 1), policy(preset, 2)
        model_dir = save(old, self.folder / preset)
        before, after = Reference(old, self.folder / "a"), Reference(new, self.folder / "b")
        hot = SamplingParams(20, temperature=0.7, stop_token_ids=(STOP,))
        with self.engine(model_dir) as engine:
            result: dict[str, Any] = {
                "entropy_share": max(before.entropy_share(), after.entropy_share()),
                "prompts_before": prompt_mismatch(engine, before),
                "other_experts": other_experts(engine, before),
                "samples_before": sample_mismatch(drawn(engine, chunk(0, hot)), before, 0.7),
            }
            sync = engine.load_weights(after.publish(1))
            result |= {
                "canary": sync.canary_max_mismatch,
                "tensors": sync.tensors,
                "read_back": sync.read_back,
                "packed": list(sync.packed),
                "uncovered": list(sync.uncovered),
                "published": len(after.tensors),
                "version": engine.version,
                "prompts_after": prompt_mismatch(engine, after),
                "samples_after": sample_mismatch(drawn(engine, chunk(1, hot)), after, 0.7),
                "old_mismatch_after": prompt_mismatch(engine, before),
            }
            result["adapters"] = self._adapters(engine, model_dir)
        return result

    def _adapters(self, engine: VllmEngine, model_dir: Path) -> dict[str, Any]:
        """Two updates by adapters alone, over an engine with all other weights: those of the base must come back."""
        model = with_adapters(model_dir, ("experts", "kv_b_proj", "o_proj") if "-v" in model_dir.name else ())
        merged = Reference(load_policy(save_policy(model, self.folder / "merged", None)), self.folder / "c")
        adapters = {name: tensor.detach() for name, tensor in adapter_tensors(model)}
        found = []
        for version in (2, 3):
            publication = merged.publish(version, tensors=adapters, base=base_of(model))
            found.append(engine.load_weights(publication))
        return {
            "tensors": found[0].tensors,
            "published": len(merged.tensors),
            "found": found[0].read_back + len(found[0].packed),
            "canary": max(sync.canary_max_mismatch for sync in found),
            "prompts": prompt_mismatch(engine, merged),
            "effect": float(np.abs(merged.of_tokens(PROMPTS[1]) - self._plain(model_dir)).max()),
            "share": publication.nbytes / sum(tensor.nbytes for _, tensor in merged.tensors),
        }

    def _plain(self, model_dir: Path) -> np.ndarray:
        """Log-probs of a prompt without adapters."""
        return Reference(load_policy(model_dir), self.folder / "plain").of_tokens(PROMPTS[1])

    def determinism(self) -> dict[str, Any]:
        """Same chunk again, after another chunk, and after a load of other weights and back."""
        first, second = (Reference(policy("tiny-v3", seed), self.folder / f"d{seed}") for seed in (1, 2))
        model_dir = self.folder / "tiny-v3"
        work = chunk(0, SamplingParams(24, temperature=0.9, stop_token_ids=(STOP,)), group_size=8)
        other = replace(work, id="other", seeds=tuple(tuple(s + 1 for s in row) for row in work.seeds))
        with self.engine(model_dir) as engine:
            once = bits(drawn(engine, work))
            again = bits(drawn(engine, work))
            between = bits(drawn(engine, other))
            engine.load_weights(second.publish(7))
            changed = bits(drawn(engine, replace(work, policy_version=7)))
            engine.load_weights(first.publish(0))
            back = bits(drawn(engine, work))
            stream = engine.generate(work)
            next(groups for groups in stream if groups)
            unfinished = engine._engine.engine_core.engine_core.scheduler.has_unfinished_requests()
            in_use = cache_entries(engine)
            stream.close()
            left = cache_entries(engine)
            closed = bits(drawn(engine, work))
        return {
            "again": once == again,
            "other_seeds_differ": once != between,
            "other_weights_differ": once != changed,
            "after_reload": once == back,
            "first_group_before_the_last": unfinished,
            "after_closing_early": once == closed,
            "cache_in_use": in_use,
            "cache_left": left,
        }

    def quick_sampling(self) -> dict[str, Any]:
        """Our replacement of vLLM's CPU sampler against vLLM's own, beyond the numbers that are drawn ahead."""
        ahead = 8
        sampling = [SamplingParams(2 * ahead + 9, temperature=1.1, top_p=p) for p in (1.0, 0.8)]
        works = [replace(chunk(0, params), id=f"top-p {params.top_p}") for params in sampling]
        found = []
        for replaced in (True, False):
            with ExitStack() as stack:
                stack.enter_context(mock.patch.object(vllm_sampling, "SEEDS_AT_A_TIME", ahead))
                if not replaced:
                    stack.enter_context(mock.patch.object(vllm_sampling, "quicken"))
                engine = stack.enter_context(self.engine(self.folder / "tiny-llama-tied"))
                found.append([bits(drawn(engine, work)) for work in works])
                sampler = engine._engine.model_executor.driver_worker.worker.model_runner.sampler
                gathers_all = sampler.gather_logprobs is type(sampler).gather_logprobs
                if gathers_all is replaced:
                    return {"replaced": False}
        ours, theirs = found
        return {"replaced": True, "equal": [a == b for a, b in zip(ours, theirs, strict=True)]}

    def sampling(self) -> dict[str, Any]:
        """The first token's distribution is the requested one; stop tokens, limits, top-p, greedy."""
        model = policy("tiny-llama-tied", 1)
        reference = Reference(model, self.folder / "s")
        count = 6000
        asked = Prompt("p", "", PROMPTS[1], None)
        rows = reference.logprobs((*PROMPTS[1], 0), 1.3)[-1].exp().numpy()
        nucleus_rows = reference.logprobs((*PROMPTS[1], 0), 1.0)[-1].exp().numpy()

        def draw(engine: VllmEngine, params: SamplingParams, n: int) -> list[Any]:
            (work,) = make_chunks([asked], "draw", 0, 0, params, n, 1)
            (group,) = drawn(engine, work)
            return list(group.samples)

        with self.engine(self.folder / "tiny-llama-tied") as engine:
            hot = draw(engine, SamplingParams(1, temperature=1.3), count)
            counts = np.bincount([s.token_ids[0] for s in hot], minlength=VOCABULARY)
            enough = rows * count >= 5
            expected = np.append(rows[enough], rows[~enough].sum()) * count
            seen = np.append(counts[enough], counts[~enough].sum())
            chi2 = float(((seen - expected) ** 2 / expected).sum())
            top = draw(engine, SamplingParams(1, top_p=0.6), 300)
            order = np.argsort(-nucleus_rows)
            size = int(np.searchsorted(np.cumsum(nucleus_rows[order]), 0.6)) + 1
            nucleus = {
                int(i): float(np.log(nucleus_rows[i] / nucleus_rows[order[:size]].sum()))
                for i in order[:size]
            }
            greedy = draw(engine, SamplingParams(8, temperature=0.0), 2)
            long = draw(engine, SamplingParams(40, temperature=1.3, stop_token_ids=(STOP, 2, 3, 4, 5, 6)), 60)
        stops = [s for s in long if s.finish_reason == "stop"]
        return {
            "chi2": chi2,
            "cells": int(enough.sum()),
            "top_p_outside": [int(s.token_ids[0]) for s in top if int(s.token_ids[0]) not in nucleus],
            "top_p_mismatch": max(
                abs(nucleus.get(int(s.token_ids[0]), 0) - float(s.logprobs[0])) for s in top
            ),
            "nucleus": size,
            "greedy_equal": bool((greedy[0].token_ids == greedy[1].token_ids).all()),
            "greedy_first_is_argmax": int(greedy[0].token_ids[0]) == int(order[0]),
            "stops": len(stops),
            "stop_token_is_last_and_only": all(
                s.token_ids[-1] in range(1, 7) and not np.isin(s.token_ids[:-1], range(1, 7)).any()
                for s in stops
            ),
            "truncated_are_full": all(len(s.token_ids) == 40 for s in long if s.finish_reason == "length"),
            "lengths_agree": all(len(s.token_ids) == len(s.logprobs) for s in long),
            "text": long[0].text == " ".join(f"w{i}" for i in long[0].token_ids if i != STOP),
        }

    def refusals(self) -> dict[str, Any]:
        """Bad chunks are refused before anything runs; the engine goes on."""
        work = chunk(0, SamplingParams(4), group_size=1)

        def with_prompt(ids: tuple[int, ...]) -> RolloutChunk:
            return replace(work, prompts=(*work.prompts[:-1], Prompt("bad", "", ids, None)))

        with self.engine(self.folder / "tiny-llama-tied", version=None) as engine:
            unproven = refusal(lambda: engine.generate(work))
            model = policy("tiny-llama-tied", 1)
            engine.load_weights(Reference(model, self.folder / "r").publish(0))
            return {
                "unproven": unproven,
                "stale": refusal(lambda: engine.generate(replace(work, policy_version=3))),
                "long": refusal(lambda: engine.generate(with_prompt((5,) * 1022))),
                "empty": refusal(lambda: engine.generate(with_prompt(()))),
                "vocabulary": refusal(lambda: engine.generate(with_prompt((5, VOCABULARY)))),
                "then": len(drawn(engine, work)),
            }

    def faults(self) -> dict[str, Any]:
        """What goes wrong on the way or in the learner, and who names it."""
        old, new = policy("tiny-v3", 1), policy("tiny-v3", 2)
        before = Reference(old, self.folder / "f1")
        after = Reference(new, self.folder / "f2")
        bias = "model.layers.1.mlp.gate.e_score_correction_bias"
        expert = "model.layers.2.mlp.experts.3.down_proj.weight"
        other = "model.layers.2.mlp.experts.1.down_proj.weight"
        stale = dict(after.tensors) | {bias: dict(before.tensors)[bias]}
        fewer = [(name, t) for name, t in after.tensors if name != expert]
        without_bias = [(name, t) for name, t in after.tensors if name != bias]
        more = [*after.tensors, ("model.layers.1.mlp.gate.surprise", torch.ones(3))]
        smaller = [(n, t[:, :8] if n == expert else t) for n, t in after.tensors]
        result: dict[str, Any] = {}

        with self.engine(self.folder / "tiny-v3") as engine:

            def attempt(name: str, publication: Publication) -> None:
                result[name] = refusal(lambda: engine.load_weights(publication))
                result[f"{name}_version"] = engine.version

            attempt("corrupted", Tampered(after.publish(1), partial(one_bit, expert)))
            attempt("dropped_on_the_way", Tampered(after.publish(2), partial(without, expert)))
            attempt("dropped_window", Tampered(after.publish(2), lambda w: None if w.index == 1 else w))
            attempt("swapped", Tampered(after.publish(2), partial(swapped, expert, other)))
            with mock.patch.object(vllm_weights, "keep_pending", partial(stale_norm, live(engine))):
                attempt("stale_parameter", after.publish(2, canary=()))
            with mock.patch.object(vllm_weights, "keep_pending", partial(swapped_norms, live(engine))):
                attempt("swapped_parameters", after.publish(2, canary=()))
            matrix = live(engine).model.layers[1].self_attn.o_proj
            with mock.patch.object(
                vllm_weights, "keep_pending", partial(stale_product, matrix, matrix.cpu_linear)
            ):
                attempt("stale_matrix", before.publish(2, canary=()))
            attempt("dropped_by_the_learner", after.publish(2, tensors=fewer))
            attempt("no_bias", after.publish(3, tensors=without_bias))
            attempt("stale_bias", after.publish(4, tensors=list(stale.items())))
            attempt("unknown", after.publish(5, tensors=more))
            attempt("smaller", after.publish(6, tensors=smaller))
            attempt("good", after.publish(7))
        return result

    def silent_config(self) -> dict[str, Any]:
        """A config.json that transformers wrote says neither noaux_tc nor sigmoid, without which vLLM has no bias."""
        model = policy("mini-v3", 1)
        folder = save(model, self.folder / "no-noaux")
        config = json.loads((folder / "config.json").read_text())
        del config["topk_method"], config["scoring_func"]
        (folder / "config.json").write_text(json.dumps(config))
        reference = Reference(model, self.folder / "n")

        def attempt() -> None:
            with self.engine(folder) as engine:
                engine.load_weights(reference.publish(1))

        with self.engine(folder) as engine:
            mismatch = prompt_mismatch(engine, reference)
        with mock.patch.object(vllm_settings, "config_overrides", return_value={}):
            return {"mismatch": mismatch, "uncured": refusal(attempt)}

    def released(self) -> dict[str, Any]:
        """A released folder with modelling code, and groups in the config of a router that chooses greedily."""
        config = LITE | {"n_group": 8, "topk_group": 3}
        folder = write(self.folder / "released", config, random_tensors(config))
        add_tokenizer(folder)
        model = load_policy(folder)
        result: dict[str, Any] = {}
        for name, cure in (("cured", vllm_settings.config_overrides), ("uncured", lambda _: {})):
            with mock.patch.object(vllm_settings, "config_overrides", cure), self.engine(folder) as engine:
                pairs = zip(engine.prompt_logprobs(PROMPTS), PROMPTS, strict=True)
                with torch.no_grad():
                    gaps = [np.abs(got - sequence_logprobs(model, p).numpy()).max() for got, p in pairs]
            result[name] = float(max(gaps))
        return result | {"code_ran": (folder / "ran").exists()}

    def documented(self) -> dict[str, Any]:
        """The family that docs/policies.md adds by one file."""
        with added(documented_family()) as family:
            (preset,) = family.presets
            model = new_policy(tiny_config(preset, VOCABULARY, eos_token_id=STOP), 1, 0.22)
            folder = save(model, self.folder / preset)
            reference = Reference(model, self.folder / "mistral")
            with self.engine(folder) as engine:
                return {
                    "entropy_share": reference.entropy_share(),
                    "prompts": prompt_mismatch(engine, reference),
                    "read_back": engine.load_weights(reference.publish(1)).read_back,
                }

    def parity(self) -> dict[str, Any]:
        """The row of `grpo doctor --policies`."""
        return asdict(measure("mini-v2-lite", "bfloat16", self.folder / "parity"))

    def bfloat16(self) -> dict[str, Any]:
        """A bfloat16 engine fed over a bfloat16 wire; the router's bias and weight stay float32."""
        after = Reference(policy("tiny-v3", 2), self.folder / "h")
        publication = after.publish(1, wire_dtype=torch.bfloat16)
        config = CONFIG.model_copy(update={"dtype": "bfloat16"})
        with self.engine(self.folder / "tiny-v3", config) as engine:
            sync = engine.load_weights(publication)
            router_error = self._router_error(engine, after)
        with (
            mock.patch.dict(op_registry_oot),
            mock.patch.object(wire, "NEVER_CAST", ("e_score_correction_bias",)),
        ):
            del op_registry_oot["GateLinear"]
            with self.engine(self.folder / "tiny-v3", config) as engine:
                engine.load_weights(after.publish(1, wire_dtype=torch.bfloat16))
                uncured = self._router_error(engine, after)
        entries = publication.begin([]).entries
        routers = {name: entry.dtype for name, entry in entries.items() if ".mlp.gate." in name}
        others = {entry.dtype for name, entry in entries.items() if name not in routers}
        return {
            "mean": sync.canary_mean_mismatch,
            "kinds": sorted(others),
            "routers": routers,
            "router_error": router_error,
            "router_error_uncured": uncured,
        }

    def _router_error(self, engine: VllmEngine, reference: Reference) -> float:
        """Largest error of the engine's router logits, for its hidden states, against float64 and float32 weights."""
        calls: list[tuple[torch.Tensor, torch.Tensor]] = []
        compute = CPURouter._compute_routing

        def recording(
            router: Any, states: torch.Tensor, logits: torch.Tensor, *rest: Any, **keywords: Any
        ) -> Any:
            calls.append((states.double(), logits.double()))
            return compute(router, states, logits, *rest, **keywords)

        with mock.patch.object(CPURouter, "_compute_routing", recording):
            engine.prompt_logprobs(PROMPTS[-1:])
        gates = [tensor.double() for name, tensor in reference.tensors if name.endswith(".mlp.gate.weight")]
        found = [
            float((logits - states @ gate.T).abs().max())
            for (states, logits), gate in zip(calls, gates, strict=True)
        ]
        return max(found)

    def traps(self) -> dict[str, Any]:
        """Each cure taken away in turn; what then happens."""
        new = {
            name: Reference(policy(name, 2), self.folder / f"t-{name}")
            for name in ("tiny-v3", "tiny-llama-tied")
        }
        old = Reference(policy("tiny-v3", 1), self.folder / "t-old")
        result: dict[str, Any] = {}

        def sync(preset: str) -> str:
            with self.engine(self.folder / preset) as engine:
                return refusal(lambda: engine.load_weights(new[preset].publish(1)))

        with (
            mock.patch.object(vllm_settings, "CPU_COMPILATION", {"custom_ops": ["all"]}),
            self.engine(self.folder / "tiny-v3") as engine,
        ):
            result["rope_mismatch"] = prompt_mismatch(engine, old)
            result["rope"] = refusal(lambda: engine.load_weights(new["tiny-v3"].publish(1)))
        with (
            mock.patch.object(vllm_weights, "begin_reload", return_value=None),
            mock.patch.object(vllm_weights, "finish_reload", return_value=None),
            mock.patch.object(vllm_weights, "unfilled_layers", return_value={}),
        ):
            result["packed"] = sync("tiny-llama-tied")
        with mock.patch.object(vllm_weights, "rebuild_moe_kernels", return_value=None):
            result["moe"] = sync("tiny-v3")
        with mock.patch.object(vllm_weights, "refresh_heads", return_value=None):
            result["head"] = sync("tiny-llama-tied")
        with mock.patch.object(vllm_settings, "needs_plain_attention", return_value=False):
            result["mla"] = refusal(lambda: self._start_and_run("tiny-v3"))
        with mock.patch.object(vllm_settings, "CPU_MLA_BACKEND", None):
            result["amx"] = refusal(lambda: self._start_and_run("mini-v2-lite"))

        work = chunk(0, SamplingParams(4), group_size=2)
        with self.engine(self.folder / "tiny-v3") as engine:
            engine._forget_prompts = lambda: None
            drawn(engine, work)
            engine.load_weights(new["tiny-v3"].publish(1))
            groups = drawn(engine, replace(work, policy_version=1))
            result["prefix_mismatch"] = sample_mismatch(groups, new["tiny-v3"], 1.0)

        prompts = tuple(Prompt(f"c{i}", "", (2 + i, *PROMPTS[-1][1:]), None) for i in range(12))
        crowd = replace(work, prompts=prompts, seeds=((1,),) * 12, group_size=1)
        narrow = CONFIG.model_copy(update={"max_model_len": 256, "max_batched_tokens": 256})
        for name, scheduler in (("chunked_cured", vllm_settings.CPU_SCHEDULER), ("chunked", {})):
            with mock.patch.object(vllm_settings, "CPU_SCHEDULER", scheduler):
                result[name] = refusal(lambda: self._run_all(narrow, crowd))
        return result

    def _run_all(self, config: EngineConfig, work: RolloutChunk) -> None:
        with self.engine(self.folder / "tiny-v3", config) as engine:
            if len(drawn(engine, work)) != len(work.prompts):
                raise RolloutError("groups are missing")

    def _start_and_run(self, preset: str) -> None:
        with self.engine(self.folder / preset) as engine:
            mismatch = prompt_mismatch(engine, Reference(policy(preset, 1), self.folder / "m"))
            if mismatch > 1e-3:
                raise RolloutError(f"mismatch {mismatch}")


def main(folder: Path, *, everyday: bool) -> None:
    """Write the report; `everyday` leaves out what repeats it for other families and config files, and the traps."""
    suite = Suite(folder)
    for preset in EVERYDAY if everyday else FAMILIES:
        suite.run(preset, lambda p=preset: suite.family(p))
    always = (
        suite.determinism, suite.quick_sampling, suite.sampling, suite.refusals, suite.faults, suite.bfloat16,
    )  # fmt: skip
    slow = (suite.silent_config, suite.released, suite.documented, suite.parity, suite.traps)
    for check in always if everyday else (*always, *slow):
        suite.run(check.__name__, check)
    (folder / "report.json").write_text(json.dumps(suite.report, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), everyday="--everyday" in sys.argv)
