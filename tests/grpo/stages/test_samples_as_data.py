"""Sample files of RL, as their writer leaves them, through `grpo curate`, `grpo pairs` and what `grpo sft` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from data_recipes.config import DatasetConfig
from data_recipes.errors import DataError
from data_recipes.prompts.datasets import load_prompts
from data_recipes.sft.config import SftSource
from data_recipes.sft.examples import Example, read_examples
from data_recipes.worlds.chain.tokenizer import build_tokenizer
from grpo.config.curate import CurateConfig
from grpo.config.pairs import PairsConfig
from grpo.stages.curate import run as run_curate
from grpo.stages.pairs import run as run_pairs
from grpo.tracking.samples import SampleWriter, read_samples
from policies.tokenizer import Tokenizer, load_tokenizer
from rewards.types import Score, ScoredGroup
from rollout.types import Prompt, Sample, SampleGroup

G = 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return load_tokenizer(folder)


def prompts(tokenizer: Tokenizer, prefill: str = "") -> list[Prompt]:
    source = DatasetConfig(source="chain", limit=3, template="r1-zero")
    made = load_prompts(source, tokenizer)
    return [
        Prompt(p.id, p.text + prefill, (*p.token_ids, *tokenizer.encode(prefill)), p.answer,
               {**p.columns, "language": "en"}, p.source, prefill)
        for p in made
    ]  # fmt: skip


def group(tokenizer: Tokenizer, prompt: Prompt, texts: Sequence[str], right: Sequence[bool]) -> ScoredGroup:
    samples = []
    for index, text in enumerate(texts):
        ids = np.array([*tokenizer.encode(text), tokenizer.eos_id], np.int32)
        samples.append(
            Sample(prompt.id, index, ids, np.zeros(len(ids), np.float32), text, "stop", index, 0, 0)
        )
    scores = tuple(Score(float(r), {"accuracy": float(r)}) for r in right)
    return ScoredGroup(SampleGroup(prompt, tuple(samples)), scores)


def reply(prompt: Prompt, filler: str, answer: str | None = None) -> str:
    text = f" <think> {filler} = {prompt.answer} </think> <answer> {answer or prompt.answer} </answer>"
    return text.removeprefix(prompt.prefill)


def write_run(folder: Path, tokenizer: Tokenizer, prefill: str = "") -> Path:
    """Two phases of three prompts, G samples each: sample 0 is right in phase 1; samples 0 and 1 in phase 2."""
    writer = SampleWriter(folder, resume_step=-1, model="hash")
    for step in (1, 2):
        groups = [
            group(
                tokenizer,
                prompt,
                [reply(prompt, f"{step} + {i}", None if i < step else "1 1") for i in range(G)],
                [i < step for i in range(G)],
            )
            for prompt in prompts(tokenizer, prefill)
        ]
        writer.write(step, groups, {})
    writer.write_eval(2, groups)
    return folder


def texts(tokenizer: Tokenizer, example: Example) -> tuple[str, str]:
    """What is read and what is learnt."""
    return tuple(
        tokenizer.decode(example.token_ids[example.is_target == learnt].tolist(), skip_special=False)
        for learnt in (False, True)
    )  # type: ignore[return-value]


def test_curate_takes_a_runs_samples_and_sft_what_it_wrote(tokenizer: Tokenizer, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", tokenizer)
    config = CurateConfig.model_validate(
        {"sources": (f"{run_dir}/samples/",), "out": tmp_path / "best.parquet", "min_language_share": None}
    )
    counts = run_curate(config)
    # Of 24 samples 3 are right in the first phase and 6 in the second; one of each prompt is kept.
    assert counts == {"samples": 24, "dropped": {"incorrect": 15, "per_prompt": 6}, "kept": 3, "mixed": 0,
                      "mix_contaminated": 0}  # fmt: skip
    rows = parquet.read_table(config.out).to_pylist()
    assert [(row["id"], row["origin"], row["model"], row["source"], row["score"]) for row in rows] == [
        (f"rl-1/{n}/0", "run/samples", "hash", "chain", 1.0) for n in range(3)
    ]
    examples, found = read_examples(SftSource(source=str(config.out)), tokenizer, 1000)
    assert (len(examples), found.bad_rows) == (3, [])
    for example, prompt in zip(examples, prompts(tokenizer), strict=True):
        assert tuple(example.token_ids[~example.is_target].tolist()) == prompt.token_ids


@pytest.mark.parametrize("prefill", ["", " <think>", " 1"])
def test_sft_takes_a_runs_samples_as_they_stand(prefill: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """It learns exactly the tokens that were sampled, behind the tokens of the prompt; the prefill not twice."""
    run_dir = write_run(tmp_path / "run", tokenizer, prefill)
    file = run_dir / "samples" / "step-000002.parquet"
    examples, found = read_examples(SftSource(source=str(file)), tokenizer, 1000)
    assert (len(examples), found.bad_rows) == (12, [])
    for example, row in zip(examples, read_samples(file), strict=True):
        assert row.prompt_ids is not None
        assert row.completion_ids is not None
        assert row.completion.startswith(prefill)
        assert example.token_ids[~example.is_target].tolist() == row.prompt_ids.tolist()
        assert example.token_ids[example.is_target].tolist() == row.completion_ids.tolist()


@pytest.mark.parametrize("prefill", ["", " 1"])
def test_the_prefill_is_not_learnt_behind_curate_either(
    prefill: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    run_dir = write_run(tmp_path / "run", tokenizer, prefill)
    out = tmp_path / "best.parquet"
    run_curate(
        CurateConfig.model_validate(
            {"sources": (f"{run_dir}/samples/",), "out": out, "min_language_share": None}
        )
    )
    (example, *_), _ = read_examples(SftSource(source=str(out)), tokenizer, 1000)
    read, learnt = texts(tokenizer, example)
    assert read.endswith(prefill)
    assert learnt.startswith(" <think> 1 + 0")


def test_pairs_take_a_runs_samples_with_a_reward_as_judge(tokenizer: Tokenizer, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", tokenizer)
    config = PairsConfig.model_validate(
        {"source": f"{run_dir}/samples/", "out": tmp_path / "pairs.parquet", "judge": {"name": "accuracy"},
         "min_margin": 0.0, "pairs_per_prompt": 100, "max_length_ratio": None}
    )  # fmt: skip
    counts = run_pairs(config)
    # Of each prompt 3 right and 5 wrong replies, 15 pairs with a winner of 28.
    assert (counts["prompts"], counts["pairs"], counts["margin"], counts["kept"]) == (3, 84, 39, 45)
    right = {p.id: str(p.answer) for p in prompts(tokenizer)}
    for row in parquet.read_table(config.out).to_pylist():
        answer = next(right[p.id] for p in prompts(tokenizer) if p.text == row["prompt"])
        assert f"<answer> {answer} </answer>" in row["chosen"]
        assert "<answer> 1 1 </answer>" in row["rejected"]


def test_evaluation_rows_are_data_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", tokenizer)
    sources = (f"{run_dir}/samples/", f"{run_dir}/eval/step-000002.parquet")
    config = CurateConfig.model_validate(
        {"sources": sources, "out": tmp_path / "best.parquet", "min_language_share": None, "per_prompt": None}
    )
    counts = run_curate(config)
    # The evaluation holds the second phase's completions once more.
    assert counts["samples"] == 36
    assert counts["dropped"] == {"duplicate": 6, "incorrect": 21}


def test_an_empty_completion_is_a_bad_row_that_sft_can_leave_out(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    writer = SampleWriter(tmp_path, resume_step=-1)
    prompt = prompts(tokenizer)[0]
    file = str(writer.write(1, [group(tokenizer, prompt, ["", " 1"], [False, False])], {}))
    with pytest.raises(DataError, match=r"row 1: completion = ''"):
        read_examples(SftSource(source=file), tokenizer, 1000)
    examples, found = read_examples(SftSource(source=file, bad_rows="skip"), tokenizer, 1000)
    assert (len(examples), len(found.bad_rows)) == (1, 1)


def test_names_before_0_2_are_explained(tmp_path: Path) -> None:
    old = tmp_path / "old.jsonl"
    old.write_text(
        '{"id": "a", "prompt_id": "a", "prompt_text": "q", "completion_text": "r", "accuracy": 1.0}\n'
    )
    message = "prompt = None; expected text.*column prompt_text is called prompt since 0.2"
    with pytest.raises(DataError, match=message):
        run_curate(CurateConfig.model_validate({"sources": (str(old),), "out": tmp_path / "a.parquet"}))
    with pytest.raises(DataError, match=message):
        run_pairs(
            PairsConfig.model_validate(
                {"source": str(old), "out": tmp_path / "a.parquet", "judge": {"name": "accuracy"}}
            )
        )
