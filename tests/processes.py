"""New processes for tests of ranks and of resumption, forked from a server that has imported torch once.

A process that is spawned takes eight seconds of a core to import torch and transformers; one that the server forks
takes none. The server itself has computed nothing, so its children begin as a new interpreter does.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
import torch.multiprocessing as mp

PRELOADED = [
    "grpo.training.learner",
    "grpo.training.supervised_learner",
    "policies.load",
    "transformers.models.deepseek_v2.modeling_deepseek_v2",
    "transformers.models.deepseek_v3.modeling_deepseek_v3",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
]


def run_in_ranks(function: Callable[..., object], *arguments: object, ranks: int) -> None:
    """Call `function(rank, *arguments)` in as many new processes, one thread each; an error in one ends all."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    mp.start_processes(_one_thread, (function, arguments), nprocs=ranks, start_method="forkserver")


def meet(rank: int, ranks: int, place: Path, timeout_s: float = 600.0) -> None:
    """Join the gloo group of all ranks through the file `place`: unlike a port, nothing else can take it."""
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(place), ranks), rank=rank, world_size=ranks,
        timeout=timedelta(seconds=timeout_s),
    )  # fmt: skip


def run_in_new_process(function: Callable[..., object], *arguments: object) -> None:
    """Call `function(*arguments)` in a new process with one thread."""
    run_in_ranks(_without_rank, function, arguments, ranks=1)


def _one_thread(rank: int, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    function(rank, *arguments)


def _without_rank(_: int, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    function(*arguments)
