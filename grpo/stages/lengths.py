"""What the engines of a stage must hold: the context of its longest prompt, and the policy split over their GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from grpo.common.errors import ConfigError
from grpo.config.rl import RlConfig
from policies.facts import PolicyFacts
from rollout.config import EngineConfig
from rollout.engine_limits import split_refusal
from rollout.vllm_settings import read_config

if TYPE_CHECKING:
    from rollout.types import Prompt


def check_lengths(config: RlConfig, policy: PolicyFacts, prompts: Sequence[Prompt]) -> int:
    """Check that every prompt leaves room for the longest completion that the recipe allows; see `check_room`.

    Raises:
        ConfigError: see `check_room`.
    """
    limits = [config.sampling.max_tokens, *(int(s.value) for s in config.sampling.max_tokens_schedule)]
    limits += [config.eval.max_tokens] if config.eval.max_tokens else []
    return check_room(prompts, max(limits), config.engine, policy)


def check_room(prompts: Sequence[Prompt], completion: int, engine: EngineConfig, policy: PolicyFacts) -> int:
    """Return the tokens of the longest prompt with `completion` more, the context that the engines need.

    Raises:
        ConfigError: the policy, or engine.max_model_len, allows fewer; names the longest prompt and what to change. Or
            the engine's GPUs cannot share the policy.
    """
    refusal = split_refusal(read_config(policy.folder), engine.tensor_parallel, engine.expert_parallel)
    if refusal is not None:
        raise ConfigError(refusal)
    longest = max(prompts, key=lambda p: len(p.token_ids))
    needed = len(longest.token_ids) + completion
    context = engine.max_model_len or policy.max_positions
    if needed > context:
        room = context - len(longest.token_ids)
        lower = f"Lower sampling.max_tokens to {room}, or leave" if room > 0 else "Leave"
        what = "engine.max_model_len =" if engine.max_model_len else "the policy's context of"
        raised = f"; or raise engine.max_model_len to {needed}" if needed <= policy.max_positions else ""
        raise ConfigError(
            f"prompt {longest.id} has {len(longest.token_ids)} tokens; with {completion} to generate that is over "
            f"{what} {context}. {lower} long prompts out (data.max_prompt_tokens){raised}"
        )
    return needed
