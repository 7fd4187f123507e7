"""Times the transfer of the learner's weights to the engine, verification included, against a plain copy of the bytes.

    .venv/bin/python benchmarks/weight_sync.py --model models/smollm2 --dtype bfloat16

publish: cast to the wire's type, digest of every tensor, write to shared memory. load: digests checked, weights loaded
and repacked by the engine, canary log-probs. The copy is `memcpy` of the wire's bytes within shared memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from common import save
from rollout_throughput import demo_policy

TEXT = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
CHAIN = "7 * 4 + 3"
"""Text for the canary that the model expects. On tokens at −20 nats, bfloat16 log-probs carry no information."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="default: an untrained tiny V3")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="weight_sync")
    args = parser.parse_args()

    import numpy as np
    import torch

    from policies.hf_names import named_tensors
    from policies.load import load_policy
    from policies.logprobs import sequence_logprobs
    from policies.tokenizer import load_tokenizer
    from rollout.canary import Canary
    from rollout.config import EngineConfig
    from rollout.vllm_engine import VllmEngine
    from rollout.weight_folders import WeightFolders, publication_roots

    with tempfile.TemporaryDirectory() as scratch:
        folder = args.model or demo_policy(Path(scratch))
        config = EngineConfig(dtype=args.dtype, threads=args.threads, max_model_len=512, kv_cache_gib=0.25)
        engine = VllmEngine(folder, config)
        model = load_policy(folder)
        ids = tuple(load_tokenizer(folder).encode(TEXT if args.model else CHAIN))
        folders = WeightFolders(publication_roots())
        rows = []
        for version in range(args.repeats + 1):
            with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bfloat16"):
                canary = Canary(ids, sequence_logprobs(model, ids).detach().numpy())
            start = time.perf_counter()
            publication = folders.publish(
                list(named_tensors(model)), version, getattr(torch, args.dtype), [canary]
            )
            published = time.perf_counter()
            report = engine.load_weights(publication)
            loaded = time.perf_counter()
            source = np.fromfile(str(publication.path), dtype=np.uint8)
            target = np.empty_like(source)
            target[:] = 1  # touch the pages, as in a reused buffer
            before_copy = time.perf_counter()
            np.copyto(target, source)
            copied = time.perf_counter() - before_copy
            rows.append((published - start, loaded - published, copied))
        folders.close()
    publish_s, load_s, copy_s = (statistics.median(column) for column in zip(*rows[1:], strict=True))
    result = {
        "model": str(args.model or "tiny-v3"),
        "dtype": args.dtype,
        "megabytes": round(source.nbytes / 1e6, 1),
        "publish_s": round(publish_s, 4),
        "load_s": round(load_s, 4),
        "copy_s": round(copy_s, 5),
        "sync_over_copy": round((publish_s + load_s) / copy_s, 1),
        "canary_max_mismatch": report.canary_max_mismatch,
    }
    print(json.dumps(result))
    print(save(args.name, result))


if __name__ == "__main__":
    main()
