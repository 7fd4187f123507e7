"""GRPO on a reward model learned from noisy test verdicts, against GRPO on these verdicts themselves (Coder-V2, §4.2).

.venv/bin/python benchmarks/compiler_reward_model.py --seeds 1 2 3

The claim: DeepSeek-Coder-V2 (2406.11931) rewards with a model trained on the compiler's 0 and 1, because sparse tests
make them noisy, and finds it clearly better. Here both arms start from one tiny base (`code-tiny-base`) for the same
steps; the verdicts are those of benchmarks/compiler_verdicts.py: one test of four, a fifth of them turned round. Both
arms are evaluated by all tests, on held-out problems. The reward model learns from the base's own samples.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import save

VERDICTS = f"{Path(__file__).resolve().parent / 'compiler_verdicts.py'}:Sparse"
TRUE = '{ name = "code", weight = 0.0, params = { test_s = 1.0, total_s = 2.0 } }'


def grpo(command: str, recipe: str, **settings: str) -> None:
    """Run one stage; the settings are TOML."""
    words = [sys.executable, "-m", "grpo.cli", command, recipe]
    for key, value in settings.items():
        words += ["--set", f"{key.replace('__', '.')}={value}"]
    subprocess.run(words, check=True)


def rl(folder: Path, name: str, reward: str, seed: int, steps: int, base: str) -> dict[str, Any]:
    """Train one arm; returns its summary."""
    grpo(
        "rl", "code-tiny", run_dir=f'"{folder / name}"', seed=str(seed), steps=str(steps), policy__model=f'"{base}"',
        rewards=f"[{reward}, {TRUE}]", eval__every_steps=str(max(steps // 2, 1)), audit__of='"code"',
        audit__max_length_correlation="1.0",
    )  # fmt: skip
    return dict(json.loads((folder / name / "summary.json").read_text()))


def reward_model(folder: Path, noise: str, seed: int, base: str, prompts: int) -> dict[str, Any]:
    """Sample programs, label them by the noisy verdicts, learn a point-wise reward model; returns its summary."""
    recipe = folder / "sample.toml"
    recipe.write_text(
        f'''stage = "sample"
seed = {seed}
run_dir = "{folder / "samples"}"
samples = 8
keep_columns = ["tests", "entry_point"]
policy = {{ model = "{base}", compute_dtype = "float32" }}
data = {{ source = "code-tiny", template = "plain", params = {{ count = {prompts} }} }}
sampling = {{ max_tokens = 64 }}
engine = {{ chunk_groups = 64, max_sequences = 256, max_batched_tokens = 8192, kv_cache_gib = 0.5, threads = 1 }}
'''
    )
    grpo("sample", str(recipe))
    recipe = folder / "pairs.toml"
    recipe.write_text(
        f'''stage = "pairs"
objective = "pointwise"
source = "{folder / "samples" / "samples.parquet"}"
out = "{folder / "labels.parquet"}"
judge = {{ name = "{VERDICTS}", params = {noise} }}
'''
    )
    grpo("pairs", str(recipe))
    recipe = folder / "reward_model.toml"
    recipe.write_text(
        f'''stage = "reward-model"
objective = "pointwise"
seed = {seed}
run_dir = "{folder / "reward-model"}"
batch_size = 64
epochs = 4
policy = {{ model = "{base}", compute_dtype = "float32" }}
data = {{ source = "{folder / "labels.parquet"}", max_tokens = 128 }}
optimizer = {{ lr = 1e-3 }}
eval = {{ holdout = 200 }}
'''
    )
    grpo("reward-model", str(recipe))
    return dict(json.loads((folder / "reward-model" / "summary.json").read_text()))


def run_seed(folder: Path, seed: int, steps: int, flip: float, prompts: int) -> dict[str, Any]:
    """Run both arms from one base; returns their figures."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    grpo("pretrain", "code-tiny-base", run_dir=f'"{folder / "base"}"', seed=str(seed))
    base = str(folder / "base" / "policy")
    noise = f"{{ flip = {flip}, seed = {seed} }}"
    raw = rl(folder, "raw", f'{{ name = "{VERDICTS}", params = {noise} }}', seed, steps, base)
    model = reward_model(folder, noise, seed, base, prompts)
    weights = folder / "reward-model" / "policy"
    learned = f'{{ name = "reward_model", timeout_s = 120, params = {{ model = "{weights}" }} }}'
    rewarded = rl(folder, "learned", learned, seed, steps, base)
    kept = ("base_pass1", "final_pass1", "final_ci_low", "final_ci_high")
    return {
        "seed": seed,
        "raw": {key: raw[key] for key in kept if key in raw},
        "learned": {key: rewarded[key] for key in kept if key in rewarded},
        "reward_model": model,
        "gain": rewarded["final_pass1"] - raw["final_pass1"],
        "minutes": (time.monotonic() - began) / 60,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--flip", type=float, default=0.2, help="share of verdicts that are turned round")
    parser.add_argument(
        "--prompts", type=int, default=320, help="prompts whose programs the model learns from"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/compiler-reward-model"))
    parser.add_argument("--keep", action="store_true", help="go on with what is in the folder")
    args = parser.parse_args()
    runs = []
    for seed in args.seeds:
        folder = (args.folder / f"seed{seed}").absolute()
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
        runs.append(run_seed(folder, seed, args.steps, args.flip, args.prompts))
        settings = {"steps": args.steps, "flip": args.flip, "prompts": args.prompts}
        path = save("compiler_reward_model", {"settings": settings, "runs": runs})
    for run in runs:
        print(
            f"seed {run['seed']}: base {run['raw']['base_pass1']:.3f}, verdicts {run['raw']['final_pass1']:.3f}, "
            f"reward model {run['learned']['final_pass1']:.3f} ({run['gain']:+.3f}), {run['minutes']:.1f} min"
        )
    print(path)


if __name__ == "__main__":
    main()
