"""Every stage by itself as a Ray job, each on what the ones before it left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grpo.stages.registry import STAGES
from tests.integration.conftest import Cluster
from tests.tiny import run_grpo

pytestmark = [pytest.mark.engine, pytest.mark.ray, pytest.mark.slow]

POLICY = 'policy = {{ model = "{place}/{model}/policy", compute_dtype = "float32" }}\n'
ENGINE = (
    "engine = { chunk_groups = 8, max_sequences = 32, max_model_len = 256, kv_cache_gib = 0.1, threads = 1 }\n"
    "sampling = { max_tokens = 24 }\n"
)
LEARNER = "optimizer = { lr = 1e-3 }\nlearner = { threads = 1 }\n"
CHAIN = 'source = "chain", template = "r1-zero", params = { count = 8 }'
TRAINED = POLICY.format(place="{place}", model="pretrain") + LEARNER
TAUGHT = (
    TRAINED
    + """data = { source = "{place}/curate/rows.parquet" }
max_tokens = 128
batch_size = 4
epochs = 1
"""
)

BODIES = {
    "pretrain": """max_steps = 20
decay_steps = 10
documents_per_step = 16
gate_every_steps = 20
restart_after_steps = 20
gate_problems = 8
gate_pass = 0.0
threads = 1
preset_overrides = { rope_parameters = { rope_type = "default", rope_theta = 100.0 } }
""",
    "rl": TRAINED
    + ENGINE
    + f"""steps = 1
data = {{ {CHAIN} }}
rewards = [{{ name = "accuracy" }}, {{ name = "format" }}]
algorithm = {{ group_size = 4, questions_per_step = 4 }}
""",
    "sample": POLICY.format(place="{place}", model="rl")
    + ENGINE
    + f"""samples = 4
data = {{ {CHAIN} }}
rewards = [{{ name = "format" }}]
""",
    "curate": """sources = ["{place}/sample/samples.parquet"]
out = "{place}/curate/rows.parquet"
correct = "format"
min_score = 0.0
max_repeated_share = false
""",
    "decontaminate": """sources = ["{place}/curate/rows.parquet"]
out = "{place}/decontaminate/rows.parquet"
against = [{ source = "chain", split = "held-out", params = { count = 8 } }]
""",
    "sft": TAUGHT,
    "distill": TAUGHT,
    "pairs": """source = "{place}/sample/samples.parquet"
out = "{place}/pairs/pairs.parquet"
judge = { name = "{place}/judge.py:longer" }
min_margin = 0.0
max_length_ratio = false
""",
    "reward-model": TRAINED
    + """objective = "pairwise"
data = { source = "{place}/pairs/pairs.parquet", max_tokens = 128 }
batch_size = 4
""",
    "eval": POLICY.format(place="{place}", model="sft")
    + ENGINE
    + f"""rewards = [{{ name = "accuracy" }}, {{ name = "format" }}]
eval = {{ samples = 2, data = {{ split = "held-out", {CHAIN} }} }}
""",
}
JUDGE = """
def longer(completions, **kwargs):
    return [float(len(text)) for text in completions]
"""


def test_every_stage_alone_as_a_job(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    assert list(BODIES) == list(STAGES), "a stage without a recipe here, or out of the order they need"
    for name, stage in STAGES.items():
        folder = tmp_path / name
        place = "" if stage.output_key == "out" else f'run_dir = "{folder}"\n'
        place += "seed = 5\n" if "seed" in stage.config.model_fields else ""
        recipe = tmp_path / f"{name}.toml"
        recipe.write_text(f'stage = "{name}"\n{place}' + BODIES[name].replace("{place}", str(tmp_path)))
        done = run_grpo("submit", recipe, "--address", cluster.jobs)
        assert f"grpo.cli {name} {recipe}" in done.stdout
        assert (folder / stage.outputs[stage.main_output]).exists(), done.stdout
        assert json.loads((folder / stage.summary).read_text())
