"""vLLM in the calling process, on a CPU or a GPU: token ids in, token ids and log-probs out.

    engine = VllmEngine("runs/demo/base", EngineConfig(dtype="float32"))
    engine.load_weights(publication)              # sets engine.version, proven
    for group in engine.generate(chunk): …        # as groups finish

Same chunk, same weights, same thread count: the same tokens and log-probs, bit for bit, in any process. That
holds because a chunk is submitted whole, every sample brings its seed, the prefix cache starts empty, and the
scheduler runs in this thread, one step after the other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rollout.canary import CANARY_TOLERANCES, check_canary
from rollout.config import EngineConfig
from rollout.errors import RolloutError, StaleEngine
from rollout.types import RolloutChunk, Sample, SampleGroup
from rollout.weights import Publication, SyncReport

CPU_KV_CACHE_GIB = 1.0
CPU_BLOCK_SIZE = 32
"""Tokens per block of keys and values. Samples of a group share full blocks of their prompt; vLLM's 128 would
leave most prompts unshared. The CPU kernel wants a multiple of 32."""
CPU_COMPILATION = {"custom_ops": ["all", "-rotary_embedding"]}
"""Trap: vLLM 0.32.0's CPU kernel for rotary embeddings is wrong for the 3-D, strided queries of DeepSeek
V2/V3, and in eager mode it is the default. Its own PyTorch formula is right and costs little."""
MLA_KERNEL_DIMENSIONS = (512, 64)
"""(kv_lora_rank, qk_rope_head_dim) that vLLM's MLA kernels are built for."""


class VllmEngine:
    """The engine of one rollout worker. One per process: vLLM keeps global state."""

    def __init__(self, model_dir: str | Path, config: EngineConfig, version: int | None = None) -> None:
        """Start vLLM on a model folder (Hugging Face config, safetensors, tokenizer).

        Args:
            model_dir: the folder; its weights serve until the first `load_weights`.
            config: `dtype` must be resolved, not "auto".
            version: policy version of the folder's weights; None refuses to sample before the first
                `load_weights`.

        Raises:
            ValueError: dtype is "auto".
            RolloutError: vLLM or the tokenizer cannot load the folder.
        """
        if config.dtype == "auto":
            raise ValueError('engine dtype "auto" must be resolved to the learner\'s compute dtype first')
        self._version: int | None = version
        self._tolerance = CANARY_TOLERANCES[config.dtype]
        prepare_process(Path(model_dir), config)
        try:
            self._tokenizer = load_tokenizer(Path(model_dir))
            self._engine: Any = start_vllm(Path(model_dir), config)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise RolloutError(f"the engine cannot start on {model_dir}: {error}") from error
        model_config = self._engine.model_config
        self.max_model_len: int = model_config.max_model_len
        """Longest prompt + completion, in tokens."""
        self._vocabulary = model_config.get_vocab_size()

    @property
    def version(self) -> int | None:
        """Policy version of the weights; None before the first proven load and after a failed one."""
        return self._version

    def generate(self, chunk: RolloutChunk) -> Iterator[SampleGroup]:
        """Every group of the chunk once, as soon as its last sample has ended; closing early aborts the rest.

        Raises:
            StaleEngine: the engine's version is not the chunk's.
            RolloutError: a prompt does not fit the context or the vocabulary; nothing has run then.
        """
        if self._version != chunk.policy_version:
            raise StaleEngine(
                f"chunk {chunk.id} wants policy version {chunk.policy_version}, "
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

    def _run(self, chunk: RolloutChunk) -> Iterator[SampleGroup]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        engine = self._engine
        self._forget_prompts()
        sampling = chunk.sampling
        for p, prompt in enumerate(chunk.prompts):
            for g, seed in enumerate(chunk.seeds[p]):
                params = SamplingParams(
                    temperature=sampling.temperature,
                    top_p=sampling.top_p,
                    max_tokens=sampling.max_tokens,
                    stop_token_ids=list(sampling.stop_token_ids),
                    ignore_eos=True,  # stop_token_ids alone decide
                    seed=seed,
                    logprobs=0,  # of the sampled token, no others
                    flat_logprobs=True,
                    detokenize=False,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                )
                engine.add_request(f"{p}/{g}", {"prompt_token_ids": list(prompt.token_ids)}, params)

        open_groups: dict[int, dict[int, Sample]] = {p: {} for p in range(len(chunk.prompts))}
        try:
            while open_groups:
                for output in engine.step():
                    p, g = (int(part) for part in output.request_id.split("/"))
                    open_groups[p][g] = self._sample(chunk, p, g, output.outputs[0])
                    if len(open_groups[p]) == chunk.group_size:
                        samples = open_groups.pop(p)
                        yield SampleGroup(
                            chunk.prompts[p], tuple(samples[i] for i in range(chunk.group_size))
                        )
        finally:
            left = [
                f"{p}/{g}"
                for p, done in open_groups.items()
                for g in range(chunk.group_size)
                if g not in done
            ]
            if left:
                engine.abort_request(left)

    def _sample(self, chunk: RolloutChunk, p: int, g: int, output: Any) -> Sample:
        version = chunk.policy_version
        return Sample(
            prompt_id=chunk.prompts[p].id,
            index=g,
            token_ids=np.asarray(output.token_ids, dtype=np.int32),
            logprobs=np.asarray(output.logprobs.logprobs, dtype=np.float32),
            text=self._tokenizer.decode(output.token_ids, skip_special_tokens=True),
            finish_reason=output.finish_reason,
            seed=chunk.seeds[p][g],
            version_first=version,
            version_last=version,
        )

    def prompt_logprobs(self, prompts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """For each prompt of n tokens (n-1,) float32: log-probability of every token but the first, at T =
        1."""
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
                places = output.prompt_logprobs
                values = [places[i][token_ids[i]].logprob for i in range(1, len(token_ids))]
                found[number] = np.asarray(values, dtype=np.float32)
        return [found[number] for number in range(len(prompts))]

    def load_weights(self, publication: Publication) -> SyncReport:
        """Replace the weights and prove it: digests before loading, the canary after.

        Raises:
            WeightSyncError: names the tensors, or the canary prompt and position. The engine then has no
                version.
        """
        started = time.perf_counter()
        self._version = None
        (tensors, *_) = self._engine.collective_rpc("receive_weights", args=(publication,))
        self._forget_prompts()
        found = self.prompt_logprobs([canary.token_ids for canary in publication.canary])
        largest, mean = check_canary(publication.canary, found, self._tolerance, publication.version)
        self._version = publication.version
        return SyncReport(publication.version, tensors, time.perf_counter() - started, largest, mean)

    def _forget_prompts(self) -> None:
        """Empty the prefix cache. Trap: it survives a weight update, so that a prompt seen before would be
        answered with keys and values of the old weights. Within one version, another chunk's blocks would
        change which tokens are computed together, and with that the rounding."""
        self._engine.reset_prefix_cache()

    def close(self) -> None:
        """Free memory; the engine is of no use afterwards."""
        self._version = None
        self._engine.engine_core.shutdown()


def prepare_process(model_dir: Path, config: EngineConfig) -> None:
    """Everything that vLLM reads from the environment, in one place; to be called before vLLM is imported."""
    # The engine in this process: starts in 2 s instead of 20, and is stepped by us.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if needs_plain_attention(model_dir):
        os.environ["VLLM_MLA_DISABLE"] = "1"
    else:
        os.environ.pop("VLLM_MLA_DISABLE", None)
    if config.threads is not None:
        import torch

        # Both: torch has loaded its OpenMP library already, vLLM's kernels may bring another.
        os.environ["OMP_NUM_THREADS"] = str(config.threads)
        torch.set_num_threads(config.threads)


def needs_plain_attention(model_dir: Path) -> bool:
    """True for an MLA policy of other dimensions than vLLM's MLA kernels take. vLLM then expands the latent
    and runs plain attention: the same function of the same weights, with a larger cache."""
    try:
        config = json.loads((model_dir / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise RolloutError(f"the engine cannot start on {model_dir}: {error}") from error
    rank = config.get("kv_lora_rank")
    return rank is not None and (rank, config.get("qk_rope_head_dim")) != MLA_KERNEL_DIMENSIONS


def load_tokenizer(model_dir: Path) -> Any:
    """The folder's tokenizer, used to decode finished samples only."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir)


def start_vllm(model_dir: Path, config: EngineConfig) -> Any:
    """vLLM's engine with the settings that make it ours. One code path; what only a CPU needs is added for a
    CPU."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.llm_engine import LLMEngine

    on_cpu = current_platform.is_cpu()
    eager = on_cpu if config.enforce_eager is None else config.enforce_eager
    kv_cache_gib = config.kv_cache_gib or (CPU_KV_CACHE_GIB if on_cpu else None)
    device_args: dict[str, Any] = {}
    if on_cpu:
        device_args = {"block_size": CPU_BLOCK_SIZE, "compilation_config": dict(CPU_COMPILATION)}
    else:
        device_args = {"gpu_memory_utilization": config.gpu_memory_share}
    if config.max_model_len is not None:
        device_args["max_model_len"] = config.max_model_len
    return LLMEngine.from_engine_args(
        EngineArgs(
            model=str(model_dir),
            skip_tokenizer_init=True,
            dtype=config.dtype,
            seed=0,
            max_num_seqs=config.max_sequences,
            max_num_batched_tokens=config.max_batched_tokens,
            kv_cache_memory_bytes=None if kv_cache_gib is None else int(kv_cache_gib * 2**30),
            tensor_parallel_size=config.tensor_parallel,
            enforce_eager=eager,
            logprobs_mode="processed_logprobs",  # under the distribution that was sampled from
            generation_config="vllm",  # nothing from the folder's generation_config.json: the chunk says how
            async_scheduling=False,  # it batches by what has finished in time, and time is not reproducible
            worker_extension_cls="rollout.vllm_weights.WeightReceiver",
            disable_log_stats=True,
            **device_args,
        )
    )
