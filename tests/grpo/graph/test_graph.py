"""Graph recipes: what is accepted, what is refused and how, what a key depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from grpo.common.errors import BrokenRun, ConfigError
from grpo.config.algorithm import OPEN_KEYS
from grpo.config.rl import RlConfig
from grpo.graph.keys import hash_path, missing_inputs, module_file, node_key
from grpo.graph.parse import Graph, load_graph
from grpo.graph.references import flatten
from grpo.graph.state import read_state, set_aside
from grpo.graph.tables import trained_tokens
from grpo.stages.registry import STAGES

GRAPH = """# A small graph
[graph]
run_dir = "runs/t"
seed = 7

[stages.base]
command = "pretrain"
recipe = "tiny-base"

[stages.zero]
command = "rl"
recipe = "r1-zero-tiny"
gate = { metric = "final_pass1", at_least = 0.5 }
[stages.zero.set]
"policy.model" = "{base.policy}"
"data.seed" = "{seed}"
optimizer = { lr = 1e-4 }

[stages.eval-zero]
command = "eval"
recipe = "r1-zero-tiny"
row = { table = "stages", name = "R1-Zero" }
set = { policy.model = "{zero.policy}" }

[stages.picked]
command = "curate"
after = ["eval-zero"]
set = { sources = ["other.jsonl", "{drawn.samples}"], rewrite = "r1-format" }

[stages.drawn]
command = "sample"
set = { policy = { model = "{zero.policy}" }, data = { source = "chain" }, rewards = [{ name = "accuracy" }] }
"""


def load(tmp_path: Path, text: str = GRAPH, *overrides: str) -> Graph:
    path = tmp_path / "small.toml"
    path.write_text(text)
    return load_graph(str(path), overrides)


def test_nodes_have_checked_configs_in_an_order_that_serves(tmp_path: Path) -> None:
    graph = load(tmp_path)
    assert list(graph.nodes) == ["base", "zero", "eval-zero", "drawn", "picked"]
    zero = graph.nodes["zero"].config
    assert isinstance(zero, RlConfig)
    assert (zero.policy.model, str(zero.run_dir), zero.seed, zero.data.seed) == (
        "runs/t/base/policy", "runs/t/zero", 7, 7
    )  # fmt: skip
    assert (zero.optimizer.lr, zero.optimizer.beta2) == (1e-4, 0.95), "tables merge into the recipe's"
    picked: Any = graph.nodes["picked"].config
    assert str(picked.out) == "runs/t/picked/rows.parquet"
    assert picked.sources == ("other.jsonl", "runs/t/drawn/samples.parquet")
    assert graph.nodes["picked"].parents == ("drawn", "eval-zero")
    assert graph.ancestors("drawn") == {"base", "zero", "drawn"}
    assert graph.descendants("eval-zero") == {"eval-zero", "picked"}


def test_set_reaches_stages_gates_and_the_graph(tmp_path: Path) -> None:
    graph = load(
        tmp_path, GRAPH, "zero.optimizer.lr=2e-4", "graph.seed=9", 'graph.run_dir="runs/u"', "base.seed=3",
        "zero.gate.at_least=0.1", "zero.rewards.1.weight=0.7",
    )  # fmt: skip
    zero: Any = graph.nodes["zero"].config
    assert (zero.optimizer.lr, zero.data.seed, str(zero.run_dir)) == (2e-4, 9, "runs/u/zero")
    assert zero.rewards[1].weight == 0.7
    base: Any = graph.nodes["base"].config
    assert base.seed == 3
    gate = graph.nodes["zero"].settings.gate
    assert gate is not None
    assert gate.at_least == 0.1


def test_a_reference_replaced_by_a_value_is_no_dependency(tmp_path: Path) -> None:
    graph = load(tmp_path, GRAPH, 'zero.policy.model="models/own"')
    assert graph.nodes["zero"].parents == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{base.policy}", "{bse.policy}", r"line 10, stage zero: policy.model: no stage 'bse' \(did you mean base"),
        ("{zero.policy}", "{zero.polcy}", "leaves no 'polcy'; it leaves policy, summary"),
        ("lr = 1e-4", "lrr = 1e-4", r"stage zero: unknown key optimizer.lrr = 0.0001 \(did you mean optimizer.lr"),
        ('command = "rl"', 'command = "rll"', r"command = 'rll' is no stage \(did you mean rl"),
        ('after = ["eval-zero"]', 'after = ["eval"]', "after: no stage 'eval'"),
        ('recipe = "r1-zero-tiny"\ngate', 'recipe = "tiny-base"\ngate', "is one of `grpo pretrain`, not of 'rl'"),
        ('"policy.model" = "{base', '"run_dir" = "x"\n"policy.model" = "{base', "the graph chooses runs/t/zero"),
        ("at_least = 0.5", "above = 0.5", "unknown key stages.zero.gate.above"),
        ('command = "sample"', 'command = "sample"\nrow = { table = "stages", name = "x" }',
         r"stage drawn: row: only an evaluation gives one \(command = eval\), not 'sample'"),
        ("[stages.drawn]", "[stages.Drawn]", "a stage's name is a folder"),
        ("[graph]", "[grph]", "not a graph"),
        ('"policy.model" = "{base.policy}"', '"policy.model" = "{picked.rows}"',
         "wait for each other: zero ← drawn|wait for each other: zero ← picked ← drawn ← zero"),
    ],
)  # fmt: skip
def test_errors_name_stage_key_and_fix(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GRAPH
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, GRAPH.replace(old, new))


def test_the_samples_of_an_rl_stage_are_an_artefact(tmp_path: Path) -> None:
    graph = load(tmp_path, GRAPH.replace('"other.jsonl"', '"{zero.samples}/"'))
    assert graph.nodes["picked"].config.model_dump()["sources"][0] == "runs/t/zero/samples/"
    assert set(graph.nodes["picked"].parents) == {"zero", "drawn", "eval-zero"}


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    text = GRAPH.replace("lr = 1e-4", "lrr = 1e-4").replace('source = "chain"', 'sauce = "chain"')
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert "optimizer.lrr" in str(error.value)
    assert "data.sauce" in str(error.value)


def test_overrides_of_no_stage_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean zero"):
        load(tmp_path, GRAPH, "zer.steps=3")


def test_braces_in_other_text_are_no_references(tmp_path: Path) -> None:
    graph = load(tmp_path, GRAPH, "zero.data.prefill='write \\boxed{a.b} or {seed} here'")
    zero: Any = graph.nodes["zero"].config
    assert zero.data.prefill == "write \\boxed{a.b} or {seed} here"


def test_flatten_takes_dotted_keys_and_tables_alike() -> None:
    assert dict(flatten({"a.b": 1, "a": {"c.d": [2]}, "e": {}})) == {
        ("a", "b"): 1,
        ("a", "c", "d"): [2],
        ("e",): {},
    }


HASHES = {
    (stage, output): f"{stage}-{output}"
    for stage in ("base", "zero", "drawn")
    for output in ("policy", "samples")
}


def test_a_key_does_not_depend_on_places_or_the_machine(tmp_path: Path) -> None:
    keys = {name: node_key(node, HASHES) for name, node in load(tmp_path).nodes.items()}
    moved = load(tmp_path, GRAPH, 'graph.run_dir="elsewhere"', "zero.engine.threads=1")
    assert {name: node_key(node, HASHES) for name, node in moved.nodes.items()} == keys
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize(
    "override",
    ["zero.optimizer.lr=2e-4", "zero.seed=1", 'zero.policy.model="x"', "graph.seed=8", "zero.steps=61"],
)
def test_a_key_depends_on_every_value(override: str, tmp_path: Path) -> None:
    key = node_key(load(tmp_path).nodes["zero"], HASHES)
    assert node_key(load(tmp_path, GRAPH, override).nodes["zero"], HASHES) != key


def test_a_key_depends_on_the_artefact_and_not_on_its_path(tmp_path: Path) -> None:
    node = load(tmp_path).nodes["zero"]
    assert node_key(node, HASHES) != node_key(node, HASHES | {("base", "policy"): "other"})
    assert node_key(node, HASHES) == node_key(node, HASHES | {("zero", "policy"): "other"})


def test_a_key_depends_on_the_content_of_named_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    node = load(tmp_path).nodes["picked"]
    without = node_key(node, HASHES)
    Path("other.jsonl").write_text("1\n")
    one = node_key(node, HASHES)
    Path("other.jsonl").write_text("2\n")
    assert len({without, one, node_key(node, HASHES)}) == 3
    plugin = Path("own.py")
    plugin.write_text("a")
    zero = load(tmp_path, GRAPH, 'zero.rewards.0.name="own.py:f"', "zero.eval.correct='f'").nodes["zero"]
    before = node_key(zero, HASHES)
    plugin.write_text("b")
    assert node_key(zero, HASHES) != before


def test_a_key_depends_on_the_code_of_a_module_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "own_rewriter.py"
    module.write_text("def rewrite(prompt, completion):\n    return completion\n")
    node = load(tmp_path, GRAPH.replace('"r1-format"', '"own_rewriter:rewrite"')).nodes["picked"]
    artefacts = {("drawn", "samples"): "s"}
    before = node_key(node, artefacts)
    assert node_key(node, artefacts) == before
    module.write_text("def rewrite(prompt, completion):\n    return completion + '.'\n")
    assert node_key(node, artefacts) != before
    for name in ("no_such_module:f", "data_recipes.worlds.r1.rewrite:to_r1", "r1-format", "a b:c", ":f"):
        assert module_file(name) is None


def test_a_file_of_code_may_lie_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    node = load(tmp_path, GRAPH.replace('"r1-format"', '"~/own.py:rewrite"')).nodes["picked"]
    (error,) = [error for error in missing_inputs(node) if "rewrite" in error]
    assert f"stage picked: rewrite = '{tmp_path}/own.py:rewrite': no such file" in error
    (tmp_path / "own.py").write_text("1\n")
    assert not [error for error in missing_inputs(node) if "rewrite" in error]
    before = node_key(node, {("drawn", "samples"): "s"})
    (tmp_path / "own.py").write_text("2\n")
    assert node_key(node, {("drawn", "samples"): "s"}) != before


@pytest.mark.parametrize("key", OPEN_KEYS)
def test_a_key_depends_on_the_code_of_a_function_of_ones_own(tmp_path: Path, key: str) -> None:
    own = tmp_path / "own.py"
    own.write_text("1\n")
    node = load(tmp_path, GRAPH, f'zero.algorithm.{key}="{own}:function"').nodes["zero"]
    before = node_key(node, HASHES)
    own.write_text("2\n")
    assert node_key(node, HASHES) != before


def test_the_key_depends_on_the_budget_of_tokens(tmp_path: Path) -> None:
    without, with_budget = load(tmp_path), load(tmp_path, GRAPH, "zero.token_budget=9")
    assert node_key(without.nodes["zero"], HASHES) != node_key(with_budget.nodes["zero"], HASHES)


def test_an_evaluations_row_has_the_tokens_of_the_stage_that_made_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = load(tmp_path)
    evaluation, zero = graph.nodes["eval-zero"], graph.nodes["zero"]
    assert trained_tokens(graph, evaluation) is None
    zero.folder.mkdir(parents=True)
    (zero.folder / "summary.json").write_text(json.dumps({"trained_tokens": 1234}))
    assert trained_tokens(graph, evaluation) == 1234
    assert trained_tokens(graph, graph.nodes["base"]) is None


def test_the_key_depends_on_leaving_out_bad_rows(tmp_path: Path) -> None:
    artefacts = {("drawn", "samples"): "s", ("zero", "policy"): "p"}
    for stage, key in (("picked", "bad_rows"), ("drawn", "data.bad_rows")):
        keys = [
            node_key(load(tmp_path, GRAPH, *overrides).nodes[stage], artefacts)
            for overrides in ([], [f'{stage}.{key}="error"'], [f'{stage}.{key}="skip"'])
        ]
        assert keys[0] == keys[1] != keys[2]


def test_an_adapter_is_the_same_wherever_its_base_lay(tmp_path: Path) -> None:
    hashes = []
    for base, rank in (("runs/a/base", 8), ("runs/b/base", 8), ("runs/b/base", 4)):
        config = f'{{"base_model_name_or_path": "{base}", "r": {rank}}}'
        (tmp_path / "adapter_config.json").write_text(config)
        hashes.append(hash_path(tmp_path))
    assert hashes[0] == hashes[1] != hashes[2]


def test_hash_of_a_folder_is_of_names_and_contents(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x").write_text("x")
        (tmp_path / name / "summary.json").write_text(f'{{"loss": 1, "minutes": {len(name)}}}')
    assert hash_path(tmp_path / "one") == hash_path(tmp_path / "three"), "minutes are left out"
    (tmp_path / "two" / "sub" / "x").rename(tmp_path / "two" / "sub" / "y")
    assert hash_path(tmp_path / "one") != hash_path(tmp_path / "two")
    (tmp_path / "three" / "summary.json").write_text('{"loss": 2, "minutes": 3}')
    assert hash_path(tmp_path / "one") != hash_path(tmp_path / "three")


def test_folders_of_others_are_refused_and_ours_are_moved(tmp_path: Path) -> None:
    folder = tmp_path / "stage"
    assert read_state(folder) is None
    folder.mkdir()
    (folder / ".node.json.1.tmp").write_text("cut short")
    assert read_state(folder) is None
    (folder / "config.json").write_text("{}")
    with pytest.raises(BrokenRun, match="not made by this graph"):
        read_state(folder)
    (folder / "node.json").write_text("{")
    with pytest.raises(BrokenRun, match="damaged"):
        read_state(folder)
    set_aside(folder)
    assert (tmp_path / ".old" / "stage" / "config.json").exists()
    assert not folder.exists()


@pytest.mark.parametrize("command", list(STAGES))
def test_every_stage_of_the_registry_is_there(command: str) -> None:
    stage = STAGES[command]
    assert stage.config.model_fields["stage"].default == stage.name == command


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gate =", "gaet =", r"line 13: unknown key stages.zero.gaet = .*did you mean stages.zero.gate"),
        ('command = "sample"', "", r"line 30: stages.drawn.command is missing"),
        ("at_least = 0.5", "at_least = nan", "should be a finite number"),
        ("at_least = 0.5", "at_least = 0.5, at_most = 0.4", "at_least = 0.5 is above at_most = 0.4"),
        ("{drawn.samples}", "{Drawn.samples}", r"sources.1 = '\{Drawn.samples\}' is no artefact"),
        ("{drawn.samples}", "{drawn.samples}.gz", r"sources.1 = .* is no artefact of a stage; write"),
        ("{drawn.samples}", " {drawn.samples}", "is no artefact of a stage"),
        ("{base.policy}", "{base.policy}/../other", "is no artefact of a stage"),
        ("[stages.drawn]", "[stages.logs]", "a stage's name is a folder.*or logs"),
        ("optimizer = { lr = 1e-4 }", '"optimizer.lr" = 1e-4\noptimizer = { lr = 1e-5 }',
         "stage zero: set.optimizer.lr is set twice"),
        ("seed = 7", 'seed = 7\ncolumns = { stage = "pass1" }', "name of a row"),
    ],
)  # fmt: skip
def test_what_would_be_taken_for_something_else_is_refused(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in GRAPH
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, GRAPH.replace(old, new))


def test_two_evaluations_do_not_write_into_the_same_cells(tmp_path: Path) -> None:
    again = """
[stages.again]
command = "eval"
recipe = "r1-zero-tiny"
row = { table = "stages", name = "R1-Zero" }
set = { policy.model = "{zero.policy}" }
"""
    with pytest.raises(
        ConfigError, match="stage again: row 'R1-Zero' of stages is that of 'eval-zero' already"
    ):
        load(tmp_path, GRAPH + again)
    load(tmp_path, GRAPH + again.replace('"R1-Zero" }', '"R1-Zero", prefix = "again" }'))


def test_an_error_of_a_stages_own_recipe_names_that_file_and_line(tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text('stage = "curate"\nper_prompt = 2\nper_promt = 3\n')
    text = GRAPH.replace('after = ["eval-zero"]', f'after = ["eval-zero"]\nrecipe = "{recipe}"')
    with pytest.raises(
        ConfigError, match=r"small.toml, line 25, stage picked, recipe .*own.toml, line 3: unknown key"
    ):
        load(tmp_path, text)
    recipe.write_text('stage = "curate"\n')
    with pytest.raises(ConfigError, match=r"small.toml, line 25, stage picked: rewrite = 7"):
        load(tmp_path, text.replace('"r1-format"', "7"))
    with pytest.raises(ConfigError, match=r"^--set 'picked.rewrite=7': rewrite = 7"):
        load(tmp_path, text, "picked.rewrite=7")


@pytest.mark.parametrize("override", ["picked.sources.0.x=1", "zero.x.gate=1", "zero.optimizer.lr.x=1"])
def test_an_override_through_no_section_is_an_error_of_its_own(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, GRAPH, override)


def test_a_stage_that_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stage zero: not a section"):
        load(tmp_path, '[graph]\nrun_dir = "x"\n[stages]\nzero = 5\n', "zero.gate.at_least=1")


def test_recipes_with_a_byte_order_mark_or_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GRAPH.encode())
    assert "zero" in load_graph(str(path)).nodes
    path.write_bytes(GRAPH.encode() + "# é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"a.toml: not UTF-8 at byte \d+"):
        load_graph(str(path))


def test_long_and_short_texts_of_a_reward_are_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("x" * 5000, ".", "/"):
        text = GRAPH.replace(
            'rewards = [{ name = "accuracy" }]',
            f'rewards = [{{ name = "format", params = {{ text = "{value}" }} }}]',
        )
        node = load(tmp_path, text, "picked.correct='format'").nodes["drawn"]
        before = node_key(node, {("zero", "policy"): "p"})
        (tmp_path / f"new{len(value)}.txt").write_text("a file of others")
        assert node_key(node, {("zero", "policy"): "p"}) == before


def test_every_policy_of_r1_learns_the_template_it_is_used_with() -> None:
    nodes = load_graph("r1").nodes
    taught = [node.config for node in nodes.values() if node.command in ("sft", "distill")]
    assert len(taught) == 8
    assert {(config.data.prompt_field, config.data.template) for config in taught} == {("messages", "chat")}
    used = {name: node for name, node in nodes.items() if node.command in ("rl", "sample", "eval")}
    for name, node in used.items():
        data = node.config.eval.data if node.command == "eval" else node.config.data
        begins_at_base = name in ("zero", "cold-samples", "aime-zero", "math-zero") or name.endswith(
            "32b-zero"
        )
        assert data.template == ("r1-zero" if begins_at_base else "chat"), name
