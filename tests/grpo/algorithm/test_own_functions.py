"""Functions of a user's as policy loss, advantage estimator or KL estimator."""

import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grpo.algorithm.batching import to_train_groups
from grpo.algorithm.check import check_functions
from grpo.algorithm.loss_form import loss_form
from grpo.algorithm.losses import grpo_loss
from grpo.algorithm.probe import problems, try_advantage, try_kl, try_policy_loss
from grpo.algorithm.registry import advantage_estimator, load_named, own_functions, with_absolute_paths
from grpo.algorithm.types import Denominators
from grpo.common.config_io import load_config
from grpo.common.errors import ConfigError
from grpo.config.algorithm import FORMS, OPEN_KEYS, AlgorithmConfig
from grpo.config.rl import RlConfig
from grpo.config.sections import LearnerConfig, OptimizerConfig, PolicyConfig
from grpo.stages.rl import read_inputs
from grpo.training.learner import Learner
from tests.grpo.algorithm.test_batching import scored
from tests.grpo.tiny_phase import make_groups, make_policy

OWN = "tests.grpo.algorithm.own_functions"
RECIPE = """
stage = "rl"
steps = 4
run_dir = "run"
policy.model = "none"
policy.compute_dtype = "float32"
data.source = "chain"
rewards = [{ name = "accuracy" }]
learner.tokens_per_micro_batch = 45
learner.logit_chunk_tokens = 16
optimizer.lr = 1e-2

[algorithm]
kl_coef = 0.1
mini_batches = 2
"""
TIMED = ("time/update_s", "tokens_per_s")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_policy(tmp_path_factory.mktemp("policy") / "v3")


def train(folder, tmp_path, *lines):
    """Two updates on the tiny policy from a recipe with these lines in [algorithm]: its metrics, then the weights."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE + "\n".join(lines))
    config = load_config(RlConfig, str(recipe))
    assert problems(config.algorithm) == []
    learner = Learner(
        policy=config.policy,
        algorithm=config.algorithm,
        optimizer=config.optimizer,
        learner=config.learner,
        model_path=folder,
        total_steps=config.steps,
    )
    groups = make_groups(groups=4)
    learner.begin_phase(groups, 0, 1.0)
    reports = [learner.update(groups, step, 16).metrics for step in range(2)]
    metrics = [{k: v for k, v in report.items() if k not in TIMED} for report in reports]
    return metrics, {name: tensor.clone() for name, tensor in learner.named_tensors()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_gspo_from_outside_trains_the_same_bits_as_the_built_in(folder, tmp_path):
    clips = ("clip_low = 1e-3", "clip_high = 1e-3")
    ours, weights = train(folder, tmp_path, 'ratio = "gspo"', *clips)
    theirs, other = train(folder, tmp_path, 'ratio = "gspo"', f'policy_loss = "{OWN}:gspo"', *clips)
    assert ours[1]["policy/clip_frac_low"] > 0
    assert ours[1]["policy/clip_frac_high"] > 0
    assert theirs == ours
    assert same(weights, other)
    _, alone = train(folder, tmp_path, f'policy_loss = "{OWN}:gspo"', *clips)  # ratio: of the metrics only
    assert same(weights, alone)
    _, token = train(folder, tmp_path, *clips)
    assert not same(weights, token)


def test_a_kl_estimator_from_outside_trains_the_same_bits_as_the_built_in(folder, tmp_path):
    ours, weights = train(folder, tmp_path)
    theirs, other = train(folder, tmp_path, f'kl_estimator = "{OWN}:k3"')
    assert theirs == ours
    assert same(weights, other)
    scaled, _ = train(
        folder, tmp_path, f'kl_estimator = "{OWN}:half_squared"', "kl_estimator_params = { scale = 3.0 }"
    )
    plain, _ = train(folder, tmp_path, 'kl_estimator = "k2"')
    assert scaled[0]["policy/kl"] == pytest.approx(3 * plain[0]["policy/kl"], abs=1e-12)
    assert scaled[1]["policy/kl"] > plain[1]["policy/kl"] > 0


@pytest.mark.parametrize(("ratio", "level"), [("token", 3), ("sequence", 1)])
def test_a_kl_estimator_from_outside_sees_what_the_built_in_sees(ratio, level):
    """Tokens, or with ratio "sequence" whole samples."""
    seen = []
    form = loss_form(AlgorithmConfig(kl_coef=0.1, ratio=ratio))

    def spy(logprobs, ref_logprobs):
        seen.append(logprobs.shape)
        assert not ref_logprobs.requires_grad
        return logprobs - ref_logprobs

    object.__setattr__(form, "kl_estimator", spy)
    ref = torch.zeros(3, requires_grad=True)
    grpo_loss(
        torch.zeros(3, requires_grad=True), torch.zeros(3), ref, None, torch.zeros(3, dtype=torch.int64),
        torch.ones(1), Denominators(1, 3), form,
    )  # fmt: skip
    assert seen == [(level,)]


def test_an_asymmetric_advantage_reaches_the_train_groups(folder, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE + f'advantage = "{OWN}:asymmetric"\nadvantage_params = {{ penalty = 0.25 }}')
    config = load_config(RlConfig, str(recipe)).algorithm
    assert problems(config) == []
    groups, _ = to_train_groups(
        [scored(0, [1.0, None, 0.0]), scored(1, [0.5, 0.5])], advantage_estimator(config), "keep"
    )
    assert [[s.advantage for s in g.samples] for g in groups] == [[0.5, -0.125], [0.0, 0.0]]
    default = advantage_estimator(AlgorithmConfig(advantage=f"{OWN}:asymmetric"))
    assert default(np.array([1.0, 0.0])).tolist() == [0.5, -0.25]


@pytest.mark.parametrize("aggregation", FORMS["aggregation"])
@given(data=st.data())
def test_parts_of_a_mini_batch_add_up_for_a_loss_from_outside(aggregation, data):
    seed = data.draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=6))
    cut = data.draw(st.integers(1, len(lengths) - 1))
    form = loss_form(
        AlgorithmConfig(
            aggregation=aggregation,
            policy_loss=f"{OWN}:soft",
            policy_loss_params={"temperature": 2.0},
            kl_estimator=f"{OWN}:half_squared",
            kl_coef=0.3,
        )
    )
    total = Denominators(len(lengths), sum(lengths), 7)
    values = [torch.randn(sum(lengths), generator=generator) for _ in range(3)]
    advantages = torch.randn(len(lengths), generator=generator)

    def part(first, last):
        tokens = slice(sum(lengths[:first]), sum(lengths[:last]))
        ids = torch.repeat_interleave(torch.arange(last - first), torch.tensor(lengths[first:last]))
        logprobs = values[0][tokens].clone().requires_grad_()
        loss, _ = grpo_loss(
            logprobs, values[1][tokens], values[2][tokens], None, ids, advantages[first:last], total, form
        )
        return loss, torch.autograd.grad(loss, logprobs)[0]

    whole, gradient = part(0, len(lengths))
    parts = [part(0, cut), part(cut, len(lengths))]
    torch.testing.assert_close(sum(loss for loss, _ in parts), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.cat([g for _, g in parts]), gradient, rtol=1e-5, atol=1e-6)


def test_a_loss_from_outside_gives_the_same_gradient_in_micro_batches(folder, monkeypatch):
    found = []
    for budget in (4096, 45, 1):
        learner = Learner(
            policy=PolicyConfig(model=str(folder), compute_dtype="float32"),
            algorithm=AlgorithmConfig(
                kl_coef=0.0, policy_loss=f"{OWN}:soft", policy_loss_params={"temperature": 2.0}
            ),
            optimizer=OptimizerConfig(grad_clip=1e9),
            learner=LearnerConfig(tokens_per_micro_batch=budget, logit_chunk_tokens=16),
            model_path=folder,
            total_steps=4,
        )
        gradients = {}

        def spy(lr, gradient_scale, learner=learner, gradients=gradients):
            gradients.update({n: p.grad.clone() for n, p in learner.trained.parameters.items()})

        monkeypatch.setattr(learner.trained.optimizer, "step", spy)
        learner.begin_phase(make_groups(), 0, 1.0)
        metrics = learner.update(make_groups(), 0, 16).metrics
        found.append((metrics, gradients))
    (whole, expected), *others = found
    assert whole["grad_norm"] > 0
    for metrics, gradients in others:
        assert metrics["loss"] == pytest.approx(whole["loss"], rel=1e-4, abs=1e-6)
        for name, gradient in expected.items():
            torch.testing.assert_close(
                gradients[name], gradient, rtol=1e-3, atol=1e-5 * whole["grad_norm"], msg=name
            )


BROKEN = [
    ("policy_loss", "tests.no_such_module:f", "no module 'tests.no_such_module'"),
    ("policy_loss", f"{OWN}:gpso", "has no 'gpso'; did you mean gspo"),
    ("policy_loss", "no/such/file.py:f", "no file"),
    ("policy_loss", f"{OWN}:NUMBER", "found int, not a function"),
    ("policy_loss", f"{OWN}:Loss", "found the class Loss, not a function"),
    ("policy_loss", f"{OWN}:no_argument", r"cannot call no_argument\(\) with \(batch\)"),
    (
        "policy_loss",
        f"{OWN}:two_arguments",
        "missing a required argument: 'logprobs'.*give further parameters",
    ),
    ("policy_loss", f"{OWN}:soft", "missing a required argument: 'temperature'.*policy_loss_params"),
    ("policy_loss", f"{OWN}:raises", r"raised RuntimeError: boom \(.*own_functions.py:\d+\)"),
    ("policy_loss", f"{OWN}:nothing", r"returned NoneType; expected PolicyTerm"),
    ("policy_loss", f"{OWN}:bare_tensor", "returned Tensor; expected PolicyTerm"),
    ("policy_loss", f"{OWN}:scalar_loss", r"objective torch.float32 \(\); expected torch.float32 \(5,\)"),
    ("policy_loss", f"{OWN}:double_loss", r"objective torch.float64 \(5,\); expected torch.float32"),
    ("policy_loss", f"{OWN}:mask_of_numbers", r"clipped_low torch.float32 \(5,\); expected torch.bool"),
    ("policy_loss", f"{OWN}:nan_loss", "expected finite numbers"),
    ("policy_loss", f"{OWN}:detached", "no gradient in logprobs"),
    ("policy_loss", f"{OWN}:constant", "zero everywhere"),
    ("policy_loss", f"{OWN}:infinite_gradient", "gradient in logprobs is .*(nan|inf)"),
    ("policy_loss", f"{OWN}:random_loss", "could not be repeated"),
    ("policy_loss", f"{OWN}:batch_normalised", "its own sample alone"),
    ("advantage", f"{OWN}:no_argument", r"with \(rewards\)"),
    ("advantage", f"{OWN}:raises", "raised RuntimeError: boom"),
    ("advantage", f"{OWN}:scalar_advantage", r"returned float64 \(\) for \(4,\) rewards"),
    ("advantage", f"{OWN}:text_advantage", "expected one number per reward"),
    ("advantage", f"{OWN}:nan_advantage", "nan.*expected finite numbers"),
    ("advantage", f"{OWN}:random_advantage", "could not be repeated"),
    ("advantage", f"{OWN}:writing_advantage", "read-only"),
    ("kl_estimator", f"{OWN}:no_argument", r"with \(logprobs, ref_logprobs\)"),
    ("kl_estimator", f"{OWN}:mean_kl", r"returned torch.float32 \(\); expected torch.float32 \(5,\)"),
    ("kl_estimator", f"{OWN}:nothing", "returned NoneType"),
    ("kl_estimator", f"{OWN}:centred_kl", "its own log-probs alone"),
    ("kl_estimator", f"{OWN}:detached_kl", "no gradient in logprobs"),
]


@pytest.mark.parametrize(("key", "name", "message"), BROKEN, ids=[f"{k}-{n}" for k, n, _ in BROKEN])
def test_a_broken_function_is_one_error_that_names_its_key(key, name, message):
    found = problems(AlgorithmConfig(**{key: name}))
    assert len(found) == 1
    assert found[0].startswith(f"algorithm.{key} = '{name}'")
    assert re.search(message, found[0]), found[0]
    assert "\n" not in found[0]


@pytest.mark.parametrize("name", ["clip", f"{OWN}:gspo"])
def test_a_parameter_that_the_function_does_not_have_is_refused(name):
    config = AlgorithmConfig(policy_loss=name, policy_loss_params={"delta": 1.0})
    (found,) = problems(config)
    assert (
        found
        == f"algorithm.policy_loss = {name!r} has no parameter delta; algorithm.policy_loss_params may set: none"
    )


def test_the_functions_of_this_toolkit_keep_the_contract_too():
    for name in FORMS["advantage"]:
        try_advantage(load_named(AlgorithmConfig(advantage=name), "advantage"))
    for name in FORMS["kl_estimator"]:
        try_kl(load_named(AlgorithmConfig(kl_estimator=name), "kl_estimator"))
    for name in FORMS["policy_loss"]:
        for ratio in FORMS["ratio"]:
            config = AlgorithmConfig(policy_loss=name, ratio=ratio)
            try_policy_loss(load_named(config, "policy_loss"), config)


def test_the_check_of_a_run_lists_every_problem_before_the_model_is_looked_for(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    overrides = [f"algorithm.policy_loss={OWN}:detached", f"algorithm.advantage={OWN}:nan_advantage"]
    with pytest.raises(ConfigError) as raised:
        read_inputs(load_config(RlConfig, str(recipe), overrides))
    first, second = str(raised.value).splitlines()
    assert first.startswith("algorithm.advantage = ")
    assert second.startswith("algorithm.policy_loss = ")


def test_the_check_survives_what_a_function_does_to_its_process():
    check_functions(AlgorithmConfig(kl_estimator=f"{OWN}:noisy_print"))
    with pytest.raises(ConfigError, match=r"algorithm\.policy_loss = .*:exits'.*exit 7"):
        check_functions(AlgorithmConfig(policy_loss=f"{OWN}:exits"))


def test_a_recipe_without_own_functions_starts_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    check_functions(AlgorithmConfig())


def test_a_file_is_found_from_another_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_loss.py").write_text(
        textwrap.dedent("""
        from grpo.algorithm.policy_losses import PolicyTerm

        def reinforce(batch):
            return PolicyTerm(batch.advantages * batch.logprobs)
        """)
    )
    config = AlgorithmConfig(policy_loss="./my_loss.py:reinforce", advantage=f"{OWN}:asymmetric")
    moved = with_absolute_paths(config, tmp_path)
    assert moved.policy_loss == f"{tmp_path / 'my_loss.py'}:reinforce"
    assert (moved.advantage, moved.kl_estimator) == (config.advantage, "k3")
    monkeypatch.chdir(Path(sys.prefix))
    assert problems(moved) == []
    (found,) = problems(config)
    assert found.startswith("algorithm.policy_loss = './my_loss.py:reinforce': no file")


def test_names_are_checked_with_the_recipe(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE + 'ratio = "cispo"\n')
    with pytest.raises(ConfigError, match=r"recipe\.toml, line \d+: algorithm\.ratio = 'cispo'") as raised:
        load_config(RlConfig, str(recipe))
    assert "'cispo' is a value of algorithm.policy_loss" in str(raised.value)
    for key in FORMS:
        with pytest.raises(ConfigError, match=f"{key} = 'nothing': expected '"):
            load_config(RlConfig, str(recipe), ["algorithm.ratio=token", f"algorithm.{key}=nothing"])
        if key not in OPEN_KEYS:
            with pytest.raises(ConfigError, match=f"{key} = 'a.b:c': expected '"):
                load_config(RlConfig, str(recipe), ["algorithm.ratio=token", f"algorithm.{key}=a.b:c"])


def test_parameters_that_nothing_reads_are_refused():
    with pytest.raises(ValueError, match="kl_estimator_params is only read with kl_coef"):
        AlgorithmConfig(kl_coef=0.0, kl_estimator_params={"scale": 1.0})


def test_the_advantage_needs_no_torch():
    code = (
        "import sys; from grpo.algorithm.registry import advantage_estimator; from grpo.algorithm import check\n"
        "from grpo.config.algorithm import AlgorithmConfig\n"
        "advantage_estimator(AlgorithmConfig()); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_example_of_the_docs_keeps_the_contract(tmp_path):
    page = (Path(__file__).resolve().parents[3] / "docs" / "algorithm.md").read_text(encoding="utf-8")
    section = page[page.index("## Functions of your own") :]
    (code, recipe) = (
        re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1] for language in ("python", "toml")
    )
    (tmp_path / "my_losses.py").write_text(code)
    tree = tomllib.loads(recipe)["algorithm"]
    config = with_absolute_paths(AlgorithmConfig(**tree), tmp_path)
    assert len(own_functions(config)) == 2
    assert problems(config) == []
