"""What a graph would stumble over later is found before its first stage runs; a stage's recipe is a graph of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from grpo.cli import app
from grpo.common.errors import ConfigError
from grpo.graph import checks
from grpo.graph.checks import check_inputs
from grpo.graph.parse import load_graph
from grpo.graph.single import single

GRAPH = """
[graph]
run_dir = "out"

[stages.base]
command = "pretrain"
recipe = "tiny-base"

[stages.zero]
command = "rl"
recipe = "r1-zero-tiny"
[stages.zero.set]
"policy.model" = "{base.policy}"

[stages.drawn]
command = "sample"
recipe = "r1-tiny-sample"
[stages.drawn.set]
"policy.model" = "{zero.policy}"
"data.template" = "r1-zero"

[stages.kept]
command = "curate"
[stages.kept.set]
sources = ["{drawn.samples}"]
"""


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "has_gpu", lambda: False)
    path = tmp_path / "own.toml"
    path.write_text(GRAPH)
    return str(path)


def test_a_sound_graph_passes(graph: str) -> None:
    check_inputs(load_graph(graph))
    for shipped in ("r1-tiny", "distill"):
        check_inputs(load_graph(shipped))


@pytest.mark.parametrize(
    ("override", "found"),
    [
        (
            "kept.correct='acuracy'",
            r"line \d+, stage kept: the samples of 'drawn' have no reward 'acuracy' \(did you ",
        ),
        ("kept.correct=['code', 'mcq']", r"stage kept: .* no reward 'code' or 'mcq'.*accuracy, content"),
        ("zero.eval.correct='code'", r"eval\.correct = 'code' is none of the rewards: accuracy, format"),
    ],
)
def test_a_reward_that_does_not_exist_is_an_error_of_the_recipe(
    graph: str, override: str, found: str
) -> None:
    with pytest.raises(ConfigError, match=found):
        load_graph(graph, [override])


def test_samples_without_rewards_cannot_be_curated(graph: str) -> None:
    with pytest.raises(
        ConfigError, match=r"kept: the samples of 'drawn' have no reward 'accuracy'; it has none: add"
    ):
        load_graph(graph, ["drawn.rewards=[]"])


def test_one_of_several_components_is_enough(graph: str) -> None:
    load_graph(graph, ["kept.correct=['code', 'content']"])


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("drawn.data.source='missing.jsonl'", r"stage drawn: data\.source = 'missing\.jsonl': no such file"),
        ("kept.sources=['old/']", r"stage kept: sources\.0 = 'old/': no such file or folder"),
        ("zero.policy.model='./nowhere'", r"stage zero: policy\.model = '\./nowhere': no such folder"),
        ("zero.rewards.0.name='gone.py:f'", r"stage zero: rewards\.0\.name = 'gone\.py:f': .*no file"),
        ("zero.rewards.0.name='nowhere.at:all'", r"rewards\.0\.name = 'nowhere\.at:all': .*no module"),
        ("zero.rewards.1.name='formt'", r"rewards\.1\.name = 'formt': no reward 'formt'"),
    ],
)
def test_what_does_not_exist_is_found_before_the_first_stage(graph: str, override: str, found: str) -> None:
    extra = ["zero.eval.data=false"] if "rewards" in override else ["drawn.data.params={}"]
    extra = [] if "policy" in override or "kept" in override else extra
    with pytest.raises(ConfigError, match=found):
        check_inputs(load_graph(graph, [override, *extra]))


def test_a_head_width_without_a_kernel_is_reported_once_with_its_maker(
    graph: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_graph(graph, ["base.preset_overrides.qk_nope_head_dim=24"])
    with pytest.raises(ConfigError) as raised:
        check_inputs(loaded)
    assert str(raised.value).splitlines() == [str(raised.value)], "one policy, one error"
    assert "the policy of stage base, from which stage zero samples: its attention heads are 40 wide" in str(
        raised.value
    )
    monkeypatch.setattr(checks, "has_gpu", lambda: True)
    check_inputs(loaded)


def test_nothing_runs_and_no_folder_is_made_if_a_check_fails(graph: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        app(["run", graph, "--set", "kept.sources=['missing.jsonl']"], standalone_mode=False)
    assert not (tmp_path / "out").exists()


def test_a_recipe_of_one_stage_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    loaded, note = single("r1-zero-tiny", ["steps=20"])
    assert list(loaded.nodes) == ["r1-zero-tiny"]
    assert loaded.nodes["r1-zero-tiny"].config.steps == 20  # type: ignore[attr-defined]
    assert "sampling.max_tokens = 64" in note
    app(["plan", "r1-zero-tiny", "--set", "steps=20"], standalone_mode=False)
    out = " ".join(capsys.readouterr().out.split())
    assert "20 │ 4,096 │ 10.2 K │" in out, "20 updates of 32 × 16 samples"
    assert "as if each completion had" in out


def test_a_recipe_of_one_stage_is_planned_for_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    machine = [
        "plan.machine.gpus=512",
        "plan.machine.engine_gpus=32",
        "plan.tokens=8000",
        "plan.prompts=144000",
    ]
    _, note = single("r1-rl", machine)
    assert note == ""
    words = [word for pair in machine for word in ("--set", pair)]
    app(["plan", "r1-rl", *words], standalone_mode=False)
    out = capsys.readouterr().out
    assert "r1-rl on 512 H800" in out
    assert "all stages:" in out


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("plan.machine.gpu=3", r"unknown key plan\.machine\.gpu = 3 \(did you mean plan\.machine\.gpus\?\)"),
        ("plan.tokns=3", r"unknown key plan\.tokns = 3 \(did you mean plan\.tokens\?\)"),
        ("stps=3", r"unknown key stps = 3 \(did you mean steps\?\)"),
    ],
)
def test_a_wrong_override_of_a_plan_is_named(override: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        single("r1-zero-tiny", [override])


def test_stages_that_write_a_file_are_planned_too(tmp_path: Path) -> None:
    path = tmp_path / "curate.toml"
    path.write_text('stage = "curate"\nsources = ["x.parquet"]\nout = "a/rows.parquet"\n')
    loaded, _ = single(str(path))
    assert loaded.nodes["curate"].folder == Path("a")
    path.write_text("steps = 3\n")
    with pytest.raises(ConfigError, match="add stage ="):
        single(str(path))
