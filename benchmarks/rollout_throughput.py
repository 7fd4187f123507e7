"""Compares rollout tokens/s of the whole path (chunk, dispatcher, Ray actor, engine) with bare `vllm.LLM.generate`.

    .venv/bin/python benchmarks/rollout_throughput.py                       # the tiny policy of the demo's shape
    .venv/bin/python benchmarks/rollout_throughput.py --model models/smollm2 --dtype bfloat16 --prompts 8 --tokens 96

Both sides get the same prompts, number of samples, length (EOS is ignored, so that token counts are equal), vLLM
settings and threads, and run in separate processes that take turns. The bare side is vLLM as a user calls it: no seeds,
no log-probs, text decoded. Ours draws a seed per sample and returns the sampled tokens' log-probs.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import save


def prompts(args: argparse.Namespace) -> list[tuple[int, ...]]:
    """Return random token ids, the same on both sides."""
    rng = random.Random(args.seed)
    return [
        tuple(rng.randrange(5, args.vocabulary) for _ in range(args.prompt_tokens))
        for _ in range(args.prompts)
    ]


def engine_config(args: argparse.Namespace):
    from rollout.config import EngineConfig

    return EngineConfig(
        dtype=args.dtype,
        threads=args.threads,
        max_sequences=args.prompts * args.group,
        max_model_len=args.prompt_tokens + args.tokens + 8,
        kv_cache_gib=1.0,
        chunk_groups=args.prompts,
    )


def ours(args: argparse.Namespace) -> list[float]:
    """Return tokens/s of each repeat through Ray and the dispatcher."""
    import ray

    from rollout.actor import RayWorkers, start_worker
    from rollout.chunks import make_chunks
    from rollout.dispatch import Dispatcher
    from rollout.types import Prompt, SamplingParams

    config = engine_config(args)
    ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", logging_level="error")
    pool = RayWorkers(lambda _: start_worker(args.model.resolve(), config, 0), 1, 300.0)
    dispatcher = Dispatcher(pool, 0, 1800.0)
    rows = [Prompt(f"p{i}", "", ids, None) for i, ids in enumerate(prompts(args))]
    rates = []
    for repeat in range(args.repeats + 1):
        chunks = make_chunks(
            rows, f"r{repeat}", args.seed, 0, SamplingParams(args.tokens), args.group, args.prompts
        )
        start = time.perf_counter()
        tokens = sum(len(s.token_ids) for g in dispatcher.generate(chunks) for s in g.samples)
        rates.append(tokens / (time.perf_counter() - start))
    pool.close()
    ray.shutdown()
    return rates[1:]


def bare(args: argparse.Namespace) -> list[float]:
    """Return tokens/s of each repeat of `LLM.generate` in this process."""
    from rollout.vllm_settings import engine_args, prepare_process

    config = engine_config(args)
    prepare_process(args.model, config)
    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    settings = engine_args(args.model, config, current_platform.is_cpu())
    for ours_alone in ("worker_extension_cls", "skip_tokenizer_init", "logprobs_mode"):
        settings.pop(ours_alone, None)
    model = LLM(**settings)
    params = SamplingParams(n=args.group, max_tokens=args.tokens, temperature=1.0, ignore_eos=True)
    rates = []
    for _ in range(args.repeats + 1):
        model.reset_prefix_cache()
        start = time.perf_counter()
        out = model.generate([{"prompt_token_ids": list(p)} for p in prompts(args)], params, use_tqdm=False)
        tokens = sum(len(o.token_ids) for r in out for o in r.outputs)
        rates.append(tokens / (time.perf_counter() - start))
    return rates[1:]


def demo_policy(folder: Path) -> Path:
    """Write an untrained tiny V3 with the demo's tokenizer."""
    from data_recipes.worlds.chain.tokenizer import build_tokenizer, pieces
    from policies.export import save_policy
    from policies.presets import new_policy, tiny_config

    build_tokenizer(folder / "tokenizer")
    config = tiny_config("tiny-v3", len(pieces()), eos_token_id=1)
    return save_policy(new_policy(config, 0, 0.15), folder / "policy", folder / "tokenizer")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="default: an untrained tiny V3")
    parser.add_argument("--dtype", default="float32")
    sizes = {
        "prompts": 32,
        "group": 16,
        "prompt_tokens": 48,
        "tokens": 32,
        "repeats": 5,
        "turns": 2,
        "threads": 2,
        "seed": 1,
    }
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--vocabulary", type=int, default=60, help="prompt token ids are drawn below it")
    parser.add_argument("--name", default="rollout_throughput")
    parser.add_argument("--side", choices=("ours", "bare"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"ours": ours, "bare": bare}[args.side](args)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model or demo_policy(Path(scratch))
        rates: dict[str, list[float]] = {"bare": [], "ours": []}
        for side in ("bare", "ours") * args.turns:
            # the last --model wins
            command = [sys.executable, __file__, *sys.argv[1:], "--model", str(model), "--side", side]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rates[side] += json.loads(done.stdout.splitlines()[-1])
    median = {side: statistics.median(values) for side, values in rates.items()}
    ratio = median["ours"] / median["bare"]
    path = save(
        args.name,
        {
            "sizes": {k: str(v) for k, v in vars(args).items()},
            "tokens_per_s": {k: [round(x, 1) for x in v] for k, v in rates.items()},
            "median": median,
            "ours_over_bare": round(ratio, 3),
        },
    )
    print(f"ours {median['ours']:.0f} tokens/s, bare {median['bare']:.0f}, ratio {ratio:.3f}\n{path}")


if __name__ == "__main__":
    main()
