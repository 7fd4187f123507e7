"""`[router]`: how the load of experts is balanced, in pre-training, supervised training and RL alike.

check_router(config.router, read_config(model_dir))      refuses by name what the policy's family does not have
"""

from __future__ import annotations

from pydantic import Field

from grpo.common.errors import ConfigError
from grpo.config.sections import PolicyConfig
from policies.json_types import JsonMapping
from policies.settings import Identity, Settings

V3_KEYS = ("bias_rate", "sequence_loss")
"""Keys for routers with a correction bias (deepseek_v3)."""
V2_KEYS = ("expert_loss", "device_loss", "communication_loss", "capacity")
"""Keys for softmax routers (deepseek_v2)."""
DEVICE_KEYS = ("device_loss", "communication_loss", "capacity")
"""Those of them that need groups of experts."""


class RouterConfig(Settings):
    """Balancing of routed experts; by default none, the bits of a run without the section. V3 balances by a bias and a
    small loss, V2 by three losses and by dropping. Which experts a token may reach (device- and node-limited routing)
    is the policy's own: topk_method, n_group and topk_group in its config.json."""

    bias_rate: Identity[float] = Field(0.0, ge=0)
    """γ of V3's balancing without a loss: b_i ± γ after each update (§2.1.2; V3: 0.001). 0 freezes the bias, as V3's
    pre-training ends: in RL a moving bias changes the policy without a gradient."""
    bias_still_share: Identity[float] = Field(0.0, ge=0, le=1)
    """Last share of the run's updates with γ = 0 (V3: the last 500B of 14.8T tokens, 0.034)."""
    sequence_loss: Identity[float] = Field(0.0, ge=0)
    """α of V3's sequence-wise balance loss (eq. 17; V3: 0.0001)."""
    expert_loss: Identity[float] = Field(0.0, ge=0)
    """α1 of V2's expert-level loss (eq. 23; V2: 0.003, V2-Lite: 0.001)."""
    device_loss: Identity[float] = Field(0.0, ge=0)
    """α2 of V2's device-level loss (eq. 26; V2: 0.05); a device is a group of experts, n_group of them."""
    communication_loss: Identity[float] = Field(0.0, ge=0)
    """α3 of V2's communication loss (eq. 29; V2: 0.02)."""
    capacity: Identity[float | None] = Field(None, gt=0)
    """What a device computes of a micro-batch's tokens, as a multiple of the mean over devices (V2 §2.2.4: 1.0); tokens
    of the lowest affinity are dropped. None: none are. Engines never drop, so in RL it shows as log-prob mismatch."""
    never_dropped: Identity[float] = Field(0.1, ge=0, le=1)
    """Share of the sequences whose tokens are never dropped (V2: about a tenth), chosen by a digest."""

    @property
    def has_losses(self) -> bool:
        """Return True if a loss is to be added."""
        return any((self.sequence_loss, self.expert_loss, self.device_loss, self.communication_loss))

    def bias_rate_at(self, step: int, total_steps: int) -> float:
        """Return γ of an update.

        Args:
            step: updates done before it.
            total_steps: updates of the whole run.
        """
        return self.bias_rate if step < (1.0 - self.bias_still_share) * total_steps else 0.0


OFF = RouterConfig()
"""No balancing."""


class PretrainRouter(RouterConfig):
    """Balancing in pre-training."""

    bias_rate: Identity[float] = Field(1e-3, ge=0)
    """γ of V3's balancing without a loss (§2.1.2: 0.001, 0 at the end), where the policy has a bias. It decays with the
    learning rate: a bias that still moves when the weights no longer do undoes what they have learnt."""


def refuse_together(policy: PolicyConfig, router: RouterConfig) -> None:
    """Raise ValueError for adapters beside a bias that moves."""
    if policy.lora is not None and router.bias_rate:
        raise ValueError("with policy.lora nothing but the adapters moves; leave router.bias_rate at 0")


def check_router(router: RouterConfig, config: JsonMapping) -> None:
    """Check the section against a policy's config.json; a default that does not apply to the policy is no error.

    Raises:
        ConfigError: names the keys that the policy's family does not have, and what it has instead.
    """
    family = str(config.get("model_type"))
    asked = [
        key
        for key in (*V3_KEYS, *V2_KEYS)
        if getattr(router, key) and getattr(router, key) != type(router).model_fields[key].default
    ]
    if not config.get("n_routed_experts"):
        _refuse(asked, f"the policy ({family}) has no routed experts; leave the section [router] out")
        return
    keys: tuple[tuple[str, ...], tuple[str, ...]] = (V2_KEYS, V3_KEYS)
    wrong, fitting = keys if family == "deepseek_v3" else reversed(keys)
    _refuse([key for key in asked if key in wrong], f"{family} has {_listed(fitting)} instead")
    groups = int(config.get("n_group") or 1)
    if groups < 2 or config.get("topk_method") == "greedy":
        _refuse(
            [key for key in asked if key in DEVICE_KEYS],
            "the policy routes without groups (topk_method and n_group in its config.json), so all its experts are on "
            "one device; leave it out",
        )


def _refuse(keys: list[str], why: str) -> None:
    if keys:
        raise ConfigError(f"{_listed(keys)}: {why}")


def _listed(keys: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"router.{key}" for key in keys)
