"""Turn rows of your own into prompts, and draw from them as a training run does.

    python examples/custom_dataset.py

A recipe's section [data] has the same keys as DatasetConfig.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from data_recipes.config import DatasetConfig
from data_recipes.prompts.datasets import load_prompts
from data_recipes.prompts.prompt_stream import PromptStream
from data_recipes.worlds.chain.tokenizer import build_tokenizer
from policies.tokenizer import load_tokenizer

ROWS = (
    {"problem": "3 + 4", "solution": "Add them. #### 7", "level": 1},
    {"problem": "9 - 5", "solution": "Subtract. #### 4", "level": 1},
    {"problem": "2 * 3 + 1", "solution": "Multiply, then add. #### 7", "level": 2},
)


def main() -> None:
    """Print two epochs of the prompts that three rows become."""
    with tempfile.TemporaryDirectory() as folder:
        build_tokenizer(
            Path(folder, "tokenizer")
        )  # a policy's folder has one; here that of the tiny policies
        tokenizer = load_tokenizer(Path(folder, "tokenizer"))
        source = Path(folder, "rows.jsonl")
        source.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        config = DatasetConfig(
            source=str(source),
            prompt_field="problem",
            answer_field="solution",
            answer_pattern=r"#### (.+)$",  # the reference is what follows the four signs
            columns={"difficulty": "level"},  # rewards read it as `difficulty`
            constants={"kind": "math"},
            template="plain",
        )
        prompts = load_prompts(config, tokenizer)
    stream = PromptStream(prompts, seed=1)
    for epoch in range(2):
        for prompt in stream.take(cursor=epoch * len(prompts), count=len(prompts)):
            columns = {name: prompt.columns[name] for name in ("difficulty", "kind")}
            print(
                f"epoch {epoch}: {prompt.text!r} -> {prompt.answer!r}, {len(prompt.token_ids)} tokens, {columns}"
            )


if __name__ == "__main__":
    main()
