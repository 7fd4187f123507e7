"""A graph's dry run renders what each stage will read, and refuses what a stage would refuse hours later."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from data_recipes.builders.formats.registry import FORMATS
from data_recipes.builders.registry import BUILDERS
from grpo.cli import app
from grpo.common.errors import ConfigError
from grpo.graph import policies
from grpo.graph.checks import check_inputs
from grpo.graph.parse import Graph, load_graph
from grpo.graph.preview import preview
from grpo.tools.build_data import run as build
from policies.sizes import CONFIGS
from tests.data_recipes.builders.public_rows import ROWS
from tests.policies.tiny import CHAT_TEMPLATE, write_tokenizer

ARCHITECTURES = {
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "llama": "LlamaForCausalLM",
}
WITHOUT_TEMPLATE = "Llama-3.1-8B"
DIALOGUE = [
    {"role": "user", "content": "Name a prime."},
    {"role": "assistant", "content": "Seven."},
    {"role": "user", "content": "Another one?"},
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with R1's data files, as the builders make them of public rows, and its policies without weights."""
    folder = tmp_path_factory.mktemp("lab")
    for name, config in CONFIGS.items():
        if config["model_type"] in ARCHITECTURES:
            model = folder / "models" / name.partition("/")[2]
            write_tokenizer(model, chat_template=None if model.name == WITHOUT_TEMPLATE else CHAT_TEMPLATE)
            architecture = [ARCHITECTURES[config["model_type"]]]
            (model / "config.json").write_text(json.dumps({**config, "architectures": architecture}))
    (folder / "public").mkdir()
    for name, (row, _) in ROWS.items():
        (folder / "public" / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "aime.jsonl").write_text(
        json.dumps({"problem": "How many primes are below 10?", "answer": "4"}) + "\n"
    )
    for builder in BUILDERS.values():
        text = "held_out = 0.0\n"
        text += f'[[against]]\nsource = "{folder}/aime.jsonl"\nfields = ["problem"]\n'
        for name, form in FORMATS.items():
            if form.has_reply == builder.has_reply and form.kinds[0] in builder.kinds:
                text += f'[[sources]]\nformat = "{name}"\nsource = "{folder}/public/{name}.jsonl"\nlicence = "MIT"\n'
        (folder / f"{builder.name}.toml").write_text(text)
        build(builder.name, str(folder / f"{builder.name}.toml"), [f'out="{folder / builder.out}"'])
    return folder


def at_home(world: Path) -> list[str]:
    """Overrides that name the folder's policies and evaluation sets in place of the hub's."""
    found = []
    for name, node in load_graph("r1").nodes.items():
        model = getattr(getattr(node.config, "policy", None), "model", "")
        if model in CONFIGS:
            found.append(f"{name}.policy.model='{world}/models/{model.partition('/')[2]}'")
        if getattr(getattr(node.config, "eval", None), "data", None) is not None:
            found += [f"{name}.eval.data.source='{world}/aime.jsonl'", f"{name}.eval.data.split=false"]
        for key in ("against", "decontaminate"):
            if getattr(node.config, key, ()):
                found.append(f"{name}.{key}=[{{ source = '{world}/aime.jsonl', fields = ['problem'] }}]")
    return found


@pytest.fixture(scope="module")
def overrides(world: Path) -> list[str]:
    return at_home(world)


def r1(world: Path, overrides: list[str], *more: str) -> Graph:
    return load_graph("r1", [*overrides, *more])


def test_r1_passes_with_what_the_builders_make(
    world: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world)
    words = [word for override in overrides for word in ("--set", override)]
    app(["run", "r1", "--dry-run", *words], standalone_mode=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "not rendered" not in out
    for part in (
        "zero data = clean-reasoning/rows.parquet",
        "math: accuracy reads answer; format",
        "stem: mcq reads answer, choices; format_r1; language_consistency reads language",
        "code: code reads programming_language, tests; format_r1",
        "open: judge_correctness reads answer",
        "general: format_r1; language_consistency reads language; reward_model from step 1,296",
        "r1 on 512 H800",
        "dry run: nothing was started, nothing was written",
    ):
        assert part in out, part
    for stage in ("dev1", "dev3", "qwen-1-5b", "llama-8b", "llama-70b"):
        assert re.search(rf"{stage} data = \S+/rows.parquet: .*?stand-in.*?▸'<think>", out), stage
    assert "User: " in out[out.index("llama-8b data") : out.index("llama-70b data")]
    assert not (world / "runs").exists()


@pytest.mark.parametrize(
    ("override", "found"),
    [
        (
            "qwen-1-5b.policy.max_positions=false",
            r"qwen-1-5b: max_tokens = 32,768, but \S+Math-1.5B has 4,096 pos",
        ),
        (
            "qwen-1-5b.policy.max_positions=false",
            r"aime-qwen-1-5b: sampling.max_tokens = 32,768 leaves no room",
        ),
        (
            "llama-8b.policy.chat_template=false",
            r'llama-8b: data.template = "chat", but \S+ has no chat template; set po',
        ),
        (
            "qwen-14b.learner.mesh.expert=8",
            r"qwen-14b: learner.mesh.expert = 8, but the policy \(qwen2\) has no routed",
        ),
        (
            "aime-qwen-7b.engine.tensor_parallel=16",
            r"engine.tensor_parallel = 16 does not divide .* heads of 28",
        ),
    ],
)
def test_a_student_is_checked_against_its_own_shape(
    world: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch, override: str, found: str
) -> None:
    monkeypatch.chdir(world)
    with pytest.raises(ConfigError, match=found):
        check_inputs(r1(world, overrides, override), planned=True)


def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        policies, "find_description", lambda name: Path(name) if Path(name).is_dir() else None
    )


def test_shapes_of_the_papers_models_are_known_without_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    no_hub(monkeypatch)
    with pytest.raises(ConfigError, match=r"Qwen/Qwen2.5-Math-7B has 4,096 positions"):
        check_inputs(load_graph("r1", ["qwen-7b.policy.max_positions=false"]), planned=True)


def test_an_evaluation_that_no_rule_decides_is_refused(
    world: Path, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    with pytest.raises(
        ConfigError,
        match=r"stage dev2: eval.correct = 'accuracy' applies to the kinds math.*eval.data.constants",
    ):
        preview(r1(world, overrides, "dev2.eval.data.constants={ language = 'en' }"))


GRAPH = """
[graph]
run_dir = "out"
[stages.drawn]
command = "sample"
[stages.drawn.set]
policy = {{ model = "{world}/models/Qwen2.5-14B" }}
data = {{ source = "{data}", template = "chat", answer_field = false }}
sampling = {{ max_tokens = 64 }}
rewards = {rewards}
[stages.kept]
command = "curate"
[stages.kept.set]
sources = ["{{drawn.samples}}"]
correct = "own"
[stages.taught]
command = "sft"
[stages.taught.set]
policy = {{ model = "{world}/models/Llama-3.3-70B-Instruct" }}
data = {{ source = "{{kept.rows}}", prompt_field = "messages" }}
max_tokens = 4096
"""
OWN = '[{{ name = "{place}/own.py:own", llm = {{ url = "http://127.0.0.1:9/v1", cache = "{place}/llm" }} }}]'


def own_graph(world: Path, place: Path, rows: list[dict[str, object]]) -> Graph:
    (place / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "own.py").write_text(
        "def own(completions, level, llm):\n    return [1.0 for _ in completions]\n"
    )
    text = GRAPH.format(world=world, data=place / "data.jsonl", rewards=OWN.format(place=place))
    (place / "own.toml").write_text(text)
    return load_graph(str(place / "own.toml"))


def test_a_conversation_is_shown_whole_to_the_stage_that_learns_it(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    preview(own_graph(world, tmp_path, [{"messages": DIALOGUE, "level": 3}]))
    out = " ".join(capsys.readouterr().out.split())
    taught = out[out.index("taught data") :]
    assert "Name a prime." in taught
    assert "Seven." in taught
    assert "every row: " in out
    assert "own.py:own reads level" in out


def test_a_column_that_a_reward_lacks_is_found_before_anything_runs(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"stage drawn: reward .* needs the column 'level', which data.jsonl lacks"
    ):
        preview(own_graph(world, tmp_path, [{"messages": DIALOGUE}]))


def test_a_row_that_cannot_be_read_is_named_by_file_and_line(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, object]] = [{"messages": DIALOGUE, "level": 3}, {"messages": [], "level": 3}]
    with pytest.raises(ConfigError, match=r"stage drawn: \S+data.jsonl, line 2: messages"):
        preview(own_graph(world, tmp_path, rows))


def test_what_is_not_here_is_named_and_the_rest_is_shown(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_graph(world, tmp_path, [{"messages": DIALOGUE, "level": 3}])
    text = (
        (tmp_path / "own.toml")
        .read_text()
        .replace(f"{world}/models/Llama-3.3-70B-Instruct", "nobody/nothing")
    )
    (tmp_path / "own.toml").write_text(text)
    no_hub(monkeypatch)
    preview(load_graph(str(tmp_path / "own.toml")))
    out = " ".join(capsys.readouterr().out.split())
    assert "drawn data" in out
    assert "not rendered taught: its policy is not here yet, or the hub cannot be reached" in out
