"""Times the transfer of the learner's weights to the engine, verification included, against a plain copy of the bytes.

    .venv/bin/python benchmarks/weight_sync.py --model models/smollm2 --dtype bfloat16

Learner and engine are Ray actors, as in a run, and the stream is a run's: cast to the wire's type, digest of every
tensor, windows through the transport; digests checked, weights loaded and repacked by the engine, an eighth of them
read back, canary log-probs where it is their turn. The median leaves out the first sync, which verifies all. The copy
is `memcpy` of the wire's bytes. Peak memory is what the learner's and the engine's process grow by during the
transfers, beyond what they hold before the first.

`floor` has what no sync can leave out, measured on one core in a process of its own: rounding to the wire's type, both
digests, one copy into the engine, vLLM's packing of linear layers for a CPU. `floor_over_copy` is their sum divided by
the cores, against the copy. Times of the clock mean little on a machine that others use: `noise` says why a result is
not to be trusted, and the CPU time of both processes is there beside them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from common import save
from rollout_throughput import demo_policy

TEXT = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
CHAIN = "7 * 4 + 3"
"""Text for the canary that the model expects. On tokens at −20 nats, bfloat16 log-probs carry no information."""


@dataclass(frozen=True)
class MakeLearner:
    """Makes a rank that holds a policy and publishes it."""

    folder: Path
    dtype: str
    transport: str
    ids: tuple[int, ...]

    def __call__(self, position: Any) -> Any:
        from grpo.cluster.rl_ranks import PublishingLearner, PublishSettings
        from rollout.weight_folders import publication_roots

        settings = PublishSettings(publication_roots(), self.dtype, self.transport, (self.ids,))
        return Rank(PublishingLearner(Weights(self.folder, self.dtype), settings, position.rank))


class Weights:
    """The part of a learner that a sync needs; a step changes every weight a little."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from policies.load import load_policy

        self.model, self.dtype = load_policy(folder), dtype
        self.begin_phase = self.save = self.export = None

    def named_tensors(self) -> Any:
        from policies.hf_names import named_tensors

        return named_tensors(self.model)

    def adapter_base(self, wire_dtype: str) -> None:
        """Say that all weights travel."""

    def update(self) -> None:
        import torch

        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.mul_(1.0001)

    def canary_logprobs(self, ids: Any) -> Any:
        import torch

        from policies.logprobs import sequence_logprobs

        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == "bfloat16"):
            return sequence_logprobs(self.model, ids).detach().numpy()


class Rank:
    """Adds what the benchmark asks of the process."""

    def __init__(self, learner: Any) -> None:
        self._learner = learner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)

    def memory(self) -> tuple[int, int]:
        return memory()

    def pid(self) -> int:
        return os.getpid()


def memory(pid: str = "self") -> tuple[int, int]:
    """Return a process's (private bytes now, private bytes at its peak so far), shared memory left out."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kib = {name: int(value.split()[0]) for name, value in fields.items() if value.strip().endswith("kB")}
    return kib["RssAnon"] * 1024, (kib["VmHWM"] - kib["RssShmem"]) * 1024


def cpu_s(pid: int) -> float:
    """Return the seconds of a core that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def floor(folder: Path, dtype: str) -> dict[str, float]:
    """Return the seconds of one core of each part that no sync can leave out, the best of three."""
    import numpy as np
    import torch
    import xxhash
    from safetensors.torch import load_file
    from vllm import _custom_ops as ops
    from vllm.platforms import current_platform

    assert current_platform.is_cpu()
    torch.set_num_threads(1)
    source = [t.float() for file in sorted(folder.glob("*.safetensors")) for t in load_file(file).values()]
    wire = [torch.empty(t.shape, dtype=getattr(torch, dtype)) for t in source]
    engine = [torch.zeros_like(t) for t in wire]
    raw = [t.view(-1).view(torch.uint8).numpy() for t in wire]
    packed: dict[int, Any] = {}

    def pack() -> None:
        for number, weight in enumerate(wire):
            if weight.ndim == 2:
                packed[number] = ops.create_onednn_mm(weight.t(), 32)

    def cast() -> None:
        for into, tensor in zip(wire, source, strict=True):
            into.copy_(tensor)

    def copy() -> None:
        for into, data in zip(engine, raw, strict=True):
            np.copyto(into.view(-1).view(torch.uint8).numpy(), data)

    def digest() -> None:
        for data in raw:
            xxhash.xxh3_128(data.data).digest()

    parts = {"cast": cast, "digest": digest, "copy": copy, "pack": pack}
    found = {name: min(_seconds(part) for _ in range(3)) for name, part in parts.items()}
    found["digest"] *= 2
    return {name: round(value, 4) for name, value in found.items()}


def _seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def noise(load: float, seconds: Sequence[float], copies: Sequence[float], copies_cpu: Sequence[float]) -> str:
    """Say why the machine was too busy to judge; "" if it was not."""
    middle = statistics.median(seconds)
    spread = (statistics.quantiles(seconds, n=4)[2] - statistics.quantiles(seconds, n=4)[0]) / middle
    waited = sum(copies) / max(sum(copies_cpu), 1e-9)
    reasons = [f"load {load:.1f} at the start"] * (load > 1)
    reasons += [f"half of the syncs differ by more than {spread:.0%}"] * (spread > 0.2)
    reasons += [f"a copy took {waited:.1f} times its CPU time"] * (waited > 1.1)
    return "; ".join(reasons)


def main() -> None:
    if sys.argv[1:2] == ["--floor"]:
        print(json.dumps(floor(Path(sys.argv[2]), sys.argv[3])))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="default: an untrained tiny V3")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--transport", default="shared_memory")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", default="weight_sync")
    args = parser.parse_args()

    import numpy as np

    from grpo.cluster.ranks import start_ranks
    from grpo.cluster.ray_session import connect
    from grpo.cluster.rl_ranks import LearnerGroup
    from policies.tokenizer import load_tokenizer
    from rollout.actor import RayWorkers, start_worker
    from rollout.config import EngineConfig
    from rollout.dispatch import Dispatcher

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch, connect("local"):
        folder = (args.model or demo_policy(Path(scratch))).absolute()
        config = EngineConfig(dtype=args.dtype, threads=args.threads, max_model_len=512, kv_cache_gib=0.25)
        ids = tuple(load_tokenizer(folder).encode(TEXT if args.model else CHAIN))
        pool = RayWorkers(lambda _: start_worker(folder, config), 1, 300)
        dispatcher = Dispatcher(pool, 0, 300)
        make: Any = MakeLearner(folder, args.dtype, args.transport, ids)
        learners = LearnerGroup(
            start_ranks(make, seats=[{}], threads=args.threads, resume_from=None), Path(scratch), 1
        )
        learners.open()
        dispatcher.wait_started()
        engine = str(pool.info[0]["pid"])
        before = learners.call_all("memory")[0], memory(engine)[0]
        seconds, copies, copies_cpu, mismatches = [], [], [], []
        processes = learners.call_all("pid"), int(engine)
        used: list[tuple[float, ...]] = []
        for version in range(args.repeats + 1):
            learners.call_all("update")
            began = [cpu_s(pid) for pid in processes]
            start = time.perf_counter()
            (report,) = dispatcher.load(publication := learners.publish(version))
            seconds.append(time.perf_counter() - start)
            if not math.isnan(report.canary_max_mismatch):
                mismatches.append(report.canary_max_mismatch)
            used.append(tuple(cpu_s(pid) - then for pid, then in zip(processes, began, strict=True)))
            if not copies:
                entries = publication.begin([]).entries
                total = sum(
                    np.prod(e.shape, dtype=int) * (2 if e.dtype == "BF16" else 4) for e in entries.values()
                )
                source, target = np.ones(total, np.uint8), np.ones(total, np.uint8)
            before_copy, cpu_before = time.perf_counter(), time.process_time()
            np.copyto(target, source)
            copies.append(time.perf_counter() - before_copy)
            copies_cpu.append(time.process_time() - cpu_before)
        peaks = learners.call_all("memory")[1], memory(engine)[1]
        learners.close()
        pool.close()
        command = [sys.executable, __file__, "--floor", str(folder), args.dtype]
        least = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]
        )
    sync_s, copy_s = statistics.median(seconds[1:]), statistics.median(copies[1:])
    result = {
        "model": args.model.name if args.model else "tiny-v3",
        "dtype": args.dtype,
        "transport": args.transport,
        "megabytes": round(total / 1e6, 1),
        "sync_s": round(sync_s, 4),
        "first_sync_s": round(seconds[0], 4),
        "copy_s": round(copy_s, 5),
        "sync_over_copy": round(sync_s / copy_s, 1),
        "learner_cpu_s": round(statistics.median(learner for learner, _ in used[1:]), 3),
        "engine_cpu_s": round(statistics.median(own for _, own in used[1:]), 3),
        "copy_cpu_s": round(statistics.median(copies_cpu[1:]), 5),
        "floor": least,
        "floor_over_copy": round(
            sum(least.values()) / min(2, os.cpu_count() or 1) / statistics.median(copies_cpu[1:]), 1
        ),
        "noise": noise(load, seconds[1:], copies[1:], copies_cpu[1:]),
        "learner_peak_over_weights": round((peaks[0] - before[0]) / total, 2),
        "engine_peak_over_weights": round((peaks[1] - before[1]) / total, 2),
        "canaries": len(mismatches),
        "canary_max_mismatch": max(mismatches),
    }
    print(json.dumps(result))
    print(save(args.name, result))


if __name__ == "__main__":
    main()
