"""vLLM in the calling process, on a CPU or a GPU: token ids in, token ids and log-probs out.

    engine = VllmEngine("runs/demo-base/policy", EngineConfig(dtype="float32"))
    engine.load_weights(publication)              # verifies the weights and sets engine.version
    for groups in engine.generate(chunk): …       # the groups that ended in one engine step

The same chunk, weights and thread count give the same tokens and log-probs, bit for bit, in any process: a chunk is
submitted whole, every sample has its seed, the prefix cache starts empty, and the scheduler runs in this thread, one
step after the other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any  # of vLLM's engine and requests

import numpy as np

from policies.tokenizer import load_tokenizer
from rollout.canary import CANARY_TOLERANCES, check_canary
from rollout.config import EngineConfig
from rollout.engine import Engine
from rollout.errors import RolloutError, StaleEngine
from rollout.parts import ALONE, EnginePart
from rollout.publication import READ_BACK_PARTS, Head, Publication, SyncReport, Tail, Window
from rollout.types import RolloutChunk, Sample, SampleGroup, SamplingParams
from rollout.vllm_settings import engine_args, prepare_process

LOCAL_READER = "engine"


class VllmEngine(Engine):
    """The engine of one rollout worker. One per process: vLLM keeps global state."""

    def __init__(
        self,
        model_dir: str | Path,
        config: EngineConfig,
        version: int | None = None,
        part: EnginePart = ALONE,
        rendezvous: str | None = None,
    ) -> None:
        """Start vLLM on a model folder (Hugging Face config, safetensors, tokenizer).

        Args:
            model_dir: the model folder; its weights are used until the first `load_weights`.
            config: engine settings; `dtype` must not be "auto".
            version: policy version of the folder's weights; with None the engine does not sample before the first
                `load_weights`.
            part, rendezvous: which process of an engine over several GPUs this is, and where rank 0 is met. All
                processes make the same calls.

        Raises:
            ValueError: dtype is "auto", or config.tensor_parallel is not the number of processes.
            RolloutError: vLLM or the tokenizer cannot load the folder.
        """
        if config.dtype == "auto":
            raise ValueError('engine dtype "auto" must be resolved to the learner\'s compute dtype first')
        if config.tensor_parallel != part.world_size:
            raise ValueError(
                f"tensor_parallel = {config.tensor_parallel} takes as many processes, not {part.world_size}"
            )
        self._version: int | None = version
        self._asleep = False
        self._loads = 0
        self._load_started = 0.0
        self._tolerance = CANARY_TOLERANCES[config.dtype]
        prepare_process(Path(model_dir), config, part, rendezvous)
        try:
            self._tokenizer = load_tokenizer(Path(model_dir))
            self._engine: Any = start_vllm(Path(model_dir), config, part.takes_turns)
        except KeyError as error:
            raise RolloutError(
                f"the engine cannot start on {model_dir}: its model has no tensor {error}"
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            raise RolloutError(f"the engine cannot start on {model_dir}: {error}") from error
        model_config = self._engine.model_config
        self._sleeps_deeply: bool = model_config.enable_sleep_mode
        self.max_model_len: int = model_config.max_model_len
        """Longest prompt plus completion, in tokens."""
        self._vocabulary = model_config.get_vocab_size()

    @property
    def version(self) -> int | None:
        """Policy version of the weights; None before the first verified load and after a failed one."""
        return self._version

    def generate(self, chunk: RolloutChunk) -> Iterator[list[SampleGroup]]:
        """Yield, for each engine step, the groups whose last sample ended in it, often none.

        Every group of the chunk comes once. Closing the iterator early aborts the rest.

        Raises:
            StaleEngine: the engine's version is not the chunk's.
            RolloutError: a prompt does not fit the context or the vocabulary; nothing has been sampled then.
        """
        if self._version != chunk.policy_version:
            raise StaleEngine(
                f"chunk {chunk.id} needs policy version {chunk.policy_version}, "
                f"the engine holds {self._version}"
            )
        self._check_prompts(chunk)
        return self._run(chunk)

    def _check_prompts(self, chunk: RolloutChunk) -> None:
        limit = chunk.sampling.max_tokens
        for prompt in chunk.prompts:
            length = len(prompt.token_ids)
            if not length:
                raise RolloutError(f"prompt {prompt.id} is empty")
            if length + limit > self.max_model_len:
                raise RolloutError(
                    f"prompt {prompt.id} has {length} tokens; with max_tokens = {limit} that exceeds the "
                    f"context of {self.max_model_len} tokens: drop the prompt, lower max_tokens or raise "
                    "engine.max_model_len"
                )
            if not 0 <= min(prompt.token_ids) <= max(prompt.token_ids) < self._vocabulary:
                raise RolloutError(
                    f"prompt {prompt.id} has a token outside the vocabulary of {self._vocabulary}"
                )

    def _run(self, chunk: RolloutChunk) -> Iterator[list[SampleGroup]]:
        # The core is stepped directly: vLLM's own loop builds an object per token and request, which takes a tenth of
        # the time with a tiny policy.
        core = self._engine.engine_core
        self._forget_prompts()
        self._engine.collective_rpc("forget_seeds")
        tokens: dict[str, list[int]] = {}
        logprobs: dict[str, list[float]] = {}
        for p, prompt in enumerate(chunk.prompts):
            for g, seed in enumerate(chunk.seeds[p]):
                name = f"{p}/{g}"
                tokens[name], logprobs[name] = [], []
                core.add_request(self._request(name, prompt.token_ids, chunk.sampling, seed))

        done: dict[int, dict[int, Sample]] = {p: {} for p in range(len(chunk.prompts))}
        try:
            while tokens:
                ended: list[SampleGroup] = []
                for output in core.get_output().outputs:
                    name = output.request_id
                    tokens[name] += output.new_token_ids
                    if output.new_logprobs is not None:
                        logprobs[name] += output.new_logprobs.logprobs[:, 0].tolist()
                    if output.finish_reason is None:
                        continue
                    p, g = (int(part) for part in name.split("/"))
                    reason = str(output.finish_reason)
                    done[p][g] = self._sample(
                        chunk, p, g, token_ids=tokens.pop(name), logprobs=logprobs.pop(name), reason=reason
                    )
                    if len(done[p]) == chunk.group_size:
                        samples = done.pop(p)
                        ended.append(
                            SampleGroup(chunk.prompts[p], tuple(samples[i] for i in range(chunk.group_size)))
                        )
                yield ended
        finally:
            core.abort_requests(list(tokens))
            self._engine.collective_rpc("release_memory")

    def _request(self, name: str, token_ids: Sequence[int], sampling: SamplingParams, seed: int) -> Any:
        from vllm import SamplingParams as VllmSamplingParams

        params = VllmSamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop_token_ids=list(sampling.stop_token_ids),
            ignore_eos=True,  # only stop_token_ids end a sample
            seed=seed,
            logprobs=0,  # of the sampled token only
            detokenize=False,
        )
        return self._engine.input_processor.process_inputs(
            name, {"prompt_token_ids": list(token_ids)}, params, self._engine.get_supported_tasks()
        )

    def _sample(
        self, chunk: RolloutChunk, p: int, g: int, *, token_ids: list[int], logprobs: list[float], reason: str
    ) -> Sample:
        if reason not in ("stop", "length"):
            raise RolloutError(
                f"chunk {chunk.id}, prompt {chunk.prompts[p].id}: vLLM ended sample {g}: {reason}"
            )
        return Sample(
            prompt_id=chunk.prompts[p].id,
            index=g,
            token_ids=np.asarray(token_ids, dtype=np.int32),
            logprobs=np.asarray(logprobs, dtype=np.float32),
            text=self._tokenizer.decode_reply(token_ids, chunk.sampling.stop_token_ids),
            finish_reason=reason,  # type: ignore[arg-type]
            seed=chunk.seeds[p][g],
            version_first=chunk.policy_version,
            version_last=chunk.policy_version,
        )

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return, for each prompt of n tokens, (n-1,) float32 log-probs of every token but the first, at
        temperature 1."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        engine = self._engine
        self._forget_prompts()
        for number, token_ids in enumerate(prompts):
            params = SamplingParams(
                max_tokens=1,
                prompt_logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
                seed=0,
            )
            engine.add_request(str(number), {"prompt_token_ids": list(token_ids)}, params)
        found: dict[int, np.ndarray] = {}
        while len(found) < len(prompts):
            for output in engine.step():
                number = int(output.request_id)
                token_ids = prompts[number]
                by_position = output.prompt_logprobs
                values = [by_position[i][token_ids[i]].logprob for i in range(1, len(token_ids))]
                found[number] = np.asarray(values, dtype=np.float32)
        return [found[number] for number in range(len(prompts))]

    def prompt_experts(self, token_ids: Sequence[int]) -> dict[int, np.ndarray]:
        """Return (n, K) int32 experts that the engine chooses for a prompt's n tokens, by layer; {} if it has none.

        Raises:
            RolloutError: the routers of this device cannot be recorded.
        """
        self._engine.collective_rpc("record_routing")
        try:
            self.prompt_logprobs([token_ids])
        finally:
            (found, *_) = self._engine.collective_rpc("take_routing")
        return {layer: experts[: len(token_ids)].numpy() for layer, experts in found.items()}

    def begin_load(self, head: Head, reader: str) -> None:
        """Start to load a stream of weights; the engine has no version until `finish_load`.

        Raises:
            WeightSyncError: the writer cannot be reached.
        """
        self._version = None
        self._load_started = time.perf_counter()
        self._wake("weights")
        part = (self._loads % READ_BACK_PARTS, READ_BACK_PARTS) if self._loads else (0, 1)
        self._engine.collective_rpc("begin_weights", args=(head, reader, part))

    def load_window(self, window: Window) -> None:
        """Load a window of the stream; its memory may be written over afterwards."""
        self._engine.collective_rpc("load_window", args=(window,))

    def finish_load(self, tail: Tail) -> SyncReport:
        """End a stream and verify it: digests of all tensors, bits in the engine's parameters, canary prompts if any.

        The first load is read back whole, each later one in one of `READ_BACK_PARTS` parts, in turn.

        Raises:
            WeightSyncError: the message names the tensors, or the canary prompt and position. The engine has no
                version afterwards.
        """
        (report, *_) = self._engine.collective_rpc("finish_weights", args=(tail,))
        self._wake("kv_cache")
        self._asleep = False
        self._forget_prompts()
        found = self.prompt_logprobs([canary.token_ids for canary in tail.canary])
        largest, mean = check_canary(tail.canary, found, self._tolerance, tail.version)
        self._version = tail.version
        self._loads += 1
        return SyncReport(
            version=tail.version,
            tensors=report.tensors,
            seconds=time.perf_counter() - self._load_started,
            canary_max_mismatch=largest,
            canary_mean_mismatch=mean,
            read_back=report.read_back,
            packed=report.packed,
            uncovered=report.uncovered,
        )

    def load_weights(self, publication: Publication) -> SyncReport:
        """Load a publication of this process; see `begin_load` and `finish_load`."""
        self.begin_load(publication.begin([LOCAL_READER]), LOCAL_READER)
        for window in publication.windows(lambda index: None):
            self.load_window(window)
        return self.finish_load(publication.finish())

    def sleep(self) -> None:
        """Free what a learner on the same device needs, until the next `load_weights`; the engine has no version.

        On a GPU weights and cache go (vLLM's level 2); on a CPU the cache's pages do, and the weights stay.
        """
        self._version = None
        if self._asleep:
            return
        if self._sleeps_deeply:
            self._engine.sleep(level=2)
        else:
            self._engine.collective_rpc("release_memory")
        self._asleep = True

    def _wake(self, tag: str) -> None:
        """Get the memory of "weights", or of the "kv_cache", back after `sleep`: the cache comes when weights have been
        loaded, so that a sender's buffers and the cache are never there together."""
        if self._asleep and self._sleeps_deeply:
            self._engine.wake_up([tag])

    def _forget_prompts(self) -> None:
        """Empty the prefix cache.

        vLLM keeps it over a weight update: a prompt seen before would be answered with keys and values of the old
        weights. Within one version the blocks of another chunk would change which tokens are computed together, and
        with that the rounding.
        """
        self._engine.reset_prefix_cache()

    def close(self) -> None:
        """Free all memory; the engine cannot be used afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._version = None
        self._engine.engine_core.shutdown()
        del self._engine
        cleanup_dist_env_and_memory()


def start_vllm(model_dir: Path, config: EngineConfig, takes_turns: bool) -> Any:
    """Start vLLM's engine in this process, on the device that vLLM was built for; see `engine_args`."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    # On a crash vLLM logs the whole batch, megabytes of text, before it raises.
    logging.getLogger("vllm.logging_utils.dump_input").setLevel(logging.CRITICAL)
    on_cpu = current_platform.is_cpu()
    engine = LLMEngine.from_engine_args(EngineArgs(**engine_args(model_dir, config, on_cpu, takes_turns)))
    if on_cpu:
        engine.collective_rpc("quicken_sampling")
    engine.collective_rpc("release_memory")
    return engine
