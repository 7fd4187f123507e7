"""`[router]` and `[mtp]`: schedules, and what a policy's family does not have."""

from __future__ import annotations

from typing import Any

import pytest

from grpo.common.config_io import load_config
from grpo.common.errors import ConfigError
from grpo.config.mtp import MtpConfig, PretrainMtp, check_mtp
from grpo.config.pretrain import PretrainConfig
from grpo.config.router import PretrainRouter, RouterConfig, check_router
from grpo.config.sft import SftConfig

V3 = {"model_type": "deepseek_v3", "n_routed_experts": 8, "n_group": 4, "topk_method": "noaux_tc"}
V2 = {"model_type": "deepseek_v2", "n_routed_experts": 8, "n_group": 4, "topk_method": "group_limited_greedy"}
LITE = {"model_type": "deepseek_v2", "n_routed_experts": 8, "n_group": 1, "topk_method": "greedy"}
DENSE = {"model_type": "qwen3"}
WRONG = [
    (
        V2,
        {"bias_rate": 0.001},
        r"router\.bias_rate: deepseek_v2 has router\.expert_loss, router\.device_loss",
    ),
    (V2, {"sequence_loss": 1e-4}, r"router\.sequence_loss: deepseek_v2 has"),
    (
        V3,
        {"expert_loss": 0.003},
        r"router\.expert_loss: deepseek_v3 has router\.bias_rate, router\.sequence_loss",
    ),
    (V3, {"capacity": 1.0, "device_loss": 0.05}, r"router\.device_loss, router\.capacity: deepseek_v3 has"),
    (LITE, {"communication_loss": 0.02}, r"router\.communication_loss: the policy routes without groups"),
    (LITE, {"capacity": 1.0}, r"router\.capacity: the policy routes without groups"),
    (DENSE, {"bias_rate": 0.001}, r"router\.bias_rate: the policy \(qwen3\) has no routed experts"),
    (DENSE, {"capacity": 1.0}, r"router\.capacity: the policy \(qwen3\) has no routed experts"),
]
RIGHT = [
    (V3, {"bias_rate": 0.001, "bias_still_share": 0.034, "sequence_loss": 1e-4}),
    (V2, {"expert_loss": 0.003, "device_loss": 0.05, "communication_loss": 0.02, "capacity": 1.0}),
    (LITE, {"expert_loss": 0.001}),
    (DENSE, {"bias_rate": 0.0}),
]


@pytest.mark.parametrize(("policy", "keys", "message"), WRONG)
def test_what_the_family_does_not_have_is_refused_by_name(
    policy: dict[str, Any], keys: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_router(RouterConfig(**keys), policy)


@pytest.mark.parametrize(("policy", "keys"), RIGHT)
def test_what_it_has_is_accepted(policy: dict[str, Any], keys: dict[str, float]) -> None:
    check_router(RouterConfig(**keys), policy)


@pytest.mark.parametrize("policy", [V3, V2, LITE, DENSE])
def test_pretraining_s_default_is_refused_nowhere(policy: dict[str, Any]) -> None:
    check_router(PretrainRouter(), policy)
    check_router(PretrainRouter.model_validate(PretrainRouter().model_dump()), policy)


def test_gamma_stops_for_the_last_share_of_the_updates() -> None:
    router = RouterConfig(bias_rate=0.001, bias_still_share=0.25)
    assert [router.bias_rate_at(step, 8) for step in range(8)] == [0.001] * 6 + [0.0] * 2
    assert [RouterConfig(bias_rate=0.5).bias_rate_at(step, 2) for step in range(2)] == [0.5, 0.5]


def test_layers_that_are_not_there_are_neither_trained_nor_dropped() -> None:
    for mtp in ("train", "drop"):
        check_mtp(mtp, 1)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=f'mtp = "{mtp}", but the policy has no layers'):
            check_mtp(mtp, 0)  # type: ignore[arg-type]
    check_mtp("stale", 0)


def test_lambda_falls_for_the_last_share_of_the_updates() -> None:
    assert [PretrainMtp().weight_at(step, 100) for step in (0, 67, 68, 99)] == [0.3, 0.3, 0.1, 0.1]
    assert MtpConfig(weight=0.2, final_share=0.5).weight_at(9, 10) == 0.2
    assert not MtpConfig(weight=0.0).trains
    assert MtpConfig(weight=0.0, final_weight=0.1, final_share=0.5).trains


@pytest.mark.parametrize(
    ("kind", "recipe", "old", "new"),
    [
        (PretrainConfig, "tiny-base", "router_bias_rate=0.1", "router.bias_rate"),
        (PretrainConfig, "tiny-base", "sequence_balance=0.1", "router.sequence_loss"),
        (SftConfig, "smollm2-gsm8k-sft", "mtp_weight=0.1", "mtp.weight"),
        (SftConfig, "smollm2-gsm8k-sft", "policy.router_bias_rate=0.1", "router.bias_rate"),
    ],
)
def test_old_names_are_refused_with_the_new_one(kind: Any, recipe: str, old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=rf"{old.partition('=')[0]} is now called {new}"):
        load_config(kind, recipe, [old, 'run_dir="r"'])
