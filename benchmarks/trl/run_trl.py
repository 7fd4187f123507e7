"""TRL's side of grpo_step.py: its GRPOTrainer on the same model, prompts, group size, lengths and reward.

Runs in an environment of its own (requirements.txt); prints one JSON object on the last line.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from arithmetic_reward import last_number


class Clock(TrainerCallback):
    """Measures the wall time of each optimizer step, generation included."""

    def __init__(self):
        self.times, self.logs = [], []

    def on_step_begin(self, args, state, control, **kwargs):
        self.start = getattr(self, "start", time.perf_counter())

    def on_step_end(self, args, state, control, **kwargs):
        now = time.perf_counter()
        self.times.append(now - self.start)
        self.start = now

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs or {}))


def main():
    parser = argparse.ArgumentParser()
    for name in ("--model", "--data", "--out"):
        parser.add_argument(name, required=True)
    for name, default in (("--steps", 4), ("--prompts", 4), ("--group", 8), ("--tokens", 96), ("--seed", 1)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--beta", type=float, default=0.001)
    parser.add_argument("--micro-batch", type=int, default=8)
    args = parser.parse_args()
    rows = [json.loads(line) for line in Path(args.data).read_text().splitlines()]
    dataset = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": r["question"]}], "answer": r["answer"]} for r in rows]
    )
    samples = args.prompts * args.group
    config = GRPOConfig(
        output_dir=args.out,
        max_steps=args.steps,
        per_device_train_batch_size=args.micro_batch,
        gradient_accumulation_steps=samples // args.micro_batch,
        num_generations=args.group,
        max_completion_length=args.tokens,
        beta=args.beta,
        learning_rate=args.lr,
        lr_scheduler_type="constant",
        temperature=1.0,
        bf16=True,
        use_cpu=True,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=args.seed,
        disable_tqdm=True,
        shuffle_dataset=False,
        model_init_kwargs={"dtype": "float32"},  # float32 master weights, bf16 matrix work: as on our side
    )
    clock = Clock()
    trainer = GRPOTrainer(
        model=args.model, reward_funcs=last_number, args=config, train_dataset=dataset, callbacks=[clock]
    )
    trainer.train()
    steps = [
        {k: log.get(k) for k in ("reward", "completions/mean_length", "kl", "loss", "grad_norm")}
        for log in clock.logs
        if "reward" in log
    ]
    import trl

    print(
        json.dumps(
            {"seconds": clock.times, "steps": steps, "trl": trl.__version__, "torch": torch.__version__}
        )
    )


if __name__ == "__main__":
    main()
