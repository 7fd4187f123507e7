"""The adapter that `[policy.lora] adapter` names, checked before a model loads."""

from __future__ import annotations

from pathlib import Path

from grpo.config.sections import PolicyConfig
from policies.adapters import ADAPTER_FILE, CONFIG_FILE, check_adapter
from policies.digests import digest_file


def check_start(policy: PolicyConfig, base: Path) -> dict[str, str]:
    """Check that training can go on from policy.lora.adapter, if the recipe names one.

    Returns:
        Digests for the run's manifest, so that a resumed run finds the same adapter; empty without one.

    Raises:
        PolicyError: the adapter is of another policy or kind, or is not what policy.lora says.
        BrokenCheckpoint: a file of it is missing, damaged or of another shape.
    """
    lora = policy.lora
    if lora is None or lora.adapter is None:
        return {}
    folder = Path(lora.adapter)
    check_adapter(
        folder, base=base, model=policy.model, rank=lora.rank, alpha=lora.alpha, targets=lora.targets
    )
    return {f"adapter {name}": digest_file(folder / name) for name in (CONFIG_FILE, ADAPTER_FILE)}


def for_ranks(policy: PolicyConfig, compute_dtype: str) -> PolicyConfig:
    """Return the section as learner ranks read it, which may have another working directory and another machine.

    Args:
        policy: of the recipe.
        compute_dtype: what policy.compute_dtype means there.
    """
    changes: dict[str, object] = {"compute_dtype": compute_dtype}
    if policy.lora is not None and policy.lora.adapter is not None:
        folder = str(Path(policy.lora.adapter).absolute())
        changes["lora"] = policy.lora.model_copy(update={"adapter": folder})
    return policy.model_copy(update=changes)
