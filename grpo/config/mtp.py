"""How layers of multi-token prediction (V3 §2.2) are trained: `[mtp]` in pre-training and SFT, `mtp` in RL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from grpo.common.errors import ConfigError
from policies.settings import Identity, Settings

MtpInRl = Literal["stale", "train", "drop"]
"""What RL does with the layers: leaves and declares them stale, trains them along, or leaves them out of the export."""


class MtpConfig(Settings):
    """Weight of the loss of multi-token prediction, for a policy whose checkpoint holds layers for it."""

    weight: Identity[float] = Field(0.1, ge=0)
    """λ of the loss (V3 eq. 25: 0.3, for its last 4.8T tokens 0.1; R1's SFT: not printed). 0: the layers are exported
    unchanged and declared stale, as always with policy.lora."""
    final_weight: Identity[float | None] = Field(None, ge=0)
    """λ in the last part of the run; None: `weight` throughout."""
    final_share: Identity[float] = Field(0.0, ge=0, le=1)
    """Last share of the run's updates that has final_weight (V3: 4.8T of 14.8T tokens, 0.32)."""

    def weight_at(self, step: int, total_steps: int) -> float:
        """Return λ of an update.

        Args:
            step: updates done before it.
            total_steps: updates of the whole run.
        """
        if self.final_weight is None or step < (1.0 - self.final_share) * total_steps:
            return self.weight
        return self.final_weight

    @property
    def trains(self) -> bool:
        """Return True if the layers have a weight in some part of the run."""
        return bool(self.weight or (self.final_share and self.final_weight))


def check_mtp(mtp: MtpInRl, layers: int) -> None:
    """Check RL's key against the number of layers that the policy has.

    Raises:
        ConfigError: there are none to train or to drop.
    """
    if mtp != "stale" and not layers:
        raise ConfigError(
            f'mtp = "{mtp}", but the policy has no layers of multi-token prediction; leave the key out'
        )


class PretrainMtp(MtpConfig):
    """V3's schedule."""

    weight: Identity[float] = Field(0.3, ge=0)
    final_weight: Identity[float | None] = Field(0.1, ge=0)
    final_share: Identity[float] = Field(0.32, ge=0, le=1)
