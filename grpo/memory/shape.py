"""From a stage's config to what its memory depends on. Reads no file.

run_shape(config, config_json, dtype="bfloat16", device="cuda", prompt_tokens=180)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpo.config.mesh import check_mesh, mesh_of
from grpo.config.mtp import MtpConfig
from grpo.config.rl import RlConfig
from grpo.config.supervised import SupervisedConfig
from grpo.memory.demand import RunShape
from grpo.memory.model import RankRun

if TYPE_CHECKING:
    from pydantic import BaseModel

    from policies.json_types import JsonMapping


def run_shape(
    config: BaseModel,
    policy: JsonMapping,
    *,
    dtype: str,
    device: str,
    prompt_tokens: int | None = None,
    mtp_layers: int | None = None,
) -> RunShape | None:
    """Return the shape of a stage's run; None for a stage without ranks and engines.

    Args:
        config: of a stage.
        policy: its policy's config.json.
        dtype: the learner's compute dtype, resolved.
        device: "cuda" or "cpu".
        prompt_tokens: of the longest prompt, where somebody knows.
        mtp_layers: layers of multi-token prediction with weights; None: as many as config.json names.

    Raises:
        ConfigError: the mesh of the learner does not fit the policy.
    """
    engine = getattr(config, "engine", None)  # of `sample` and `eval` too, whose classes share nothing else
    wire = dtype if engine is None or engine.dtype == "auto" else engine.dtype
    longest = longest_completion(config)
    context = None if longest is None else longest + (prompt_tokens or 0)
    layers = int(policy.get("num_nextn_predict_layers") or 0) if mtp_layers is None else mtp_layers
    rank = _rank(config, policy, dtype, device, prompt_tokens, layers)
    if rank is None and engine is None:
        return None
    return RunShape(policy, rank, engine, wire, context, placement=str(getattr(config, "placement", "auto")))


def longest_completion(config: BaseModel) -> int | None:
    """Return the largest length limit of the recipe's samplings, in tokens."""
    sampling, evaluation = getattr(config, "sampling", None), getattr(config, "eval", None)
    limits = [getattr(sampling, "max_tokens", None), getattr(evaluation, "max_tokens", None)]
    limits += [int(step.value) for step in getattr(sampling, "max_tokens_schedule", ())]
    return max((limit for limit in limits if limit), default=None)


def _rank(
    config: BaseModel,
    policy: JsonMapping,
    dtype: str,
    device: str,
    prompt_tokens: int | None,
    mtp_layers: int,
) -> RankRun | None:
    trains_mtp, unshared = False, 1.0
    if isinstance(config, RlConfig):
        a = config.algorithm
        completion = longest_completion(config) or 0
        group = (prompt_tokens or 0) + a.group_size * completion
        unshared = a.group_size * ((prompt_tokens or 0) + completion) / group if group else 1.0
        mtp_layers = 0 if config.mtp == "drop" else mtp_layers
        trains_mtp = config.mtp == "train"
        most: int | None = -(-a.questions_per_step // config.learner.ranks) * group
        reference = a.kl_coef > 0
    elif isinstance(config, SupervisedConfig):
        longest = getattr(config, "max_tokens", None)
        sequences = 2 if getattr(config, "objective", None) == "pairwise" else 1
        most = (
            None if longest is None else sequences * -(-config.batch_size // config.learner.ranks) * longest
        )
        reference = False
        mtp = getattr(config, "mtp", None)  # of SFT; the other objectives leave those layers alone
        trains_mtp = isinstance(mtp, MtpConfig) and mtp.trains and config.policy.lora is None
    else:
        return None
    check_mesh(mesh_of(config.learner), policy)
    return RankRun(
        config=policy,
        learner=config.learner,
        optimizer=config.optimizer,
        lora=config.policy.lora,
        mtp_layers=mtp_layers,
        trains_mtp=trains_mtp and mtp_layers > 0,
        unshared=unshared,
        has_reference=reference,
        dtype=dtype,
        device=device,
        most_tokens=most,
    )
