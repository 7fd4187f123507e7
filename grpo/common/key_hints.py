"""Which key was meant: a near name, the same name in another section, or what TRL and verl call it.

    hint(RlConfig, ["lr"])                         " (did you mean optimizer.lr?)"
    hint(RlConfig, ["num_generations"])            " (algorithm.group_size here)"
    hint(RlConfig, ["optimizer", "lrr"])           " (did you mean optimizer.lr?)"

A line of TOML belongs to the section above it, and TRL's arguments have no sections: a key in the wrong place is the
commonest slip of all.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import get_origin

from pydantic import BaseModel

FOREIGN: Mapping[str, str] = {
    "output_dir": "run_dir",
    "default_local_dir": "run_dir",
    "model_name_or_path": "policy.model",
    "max_steps": "steps",
    "total_training_steps": "steps",
    "num_train_epochs": "epochs",
    "total_epochs": "epochs",
    "train_files": "data.source",
    "dataset_name": "data.source",
    "val_files": "eval.data.source",
    "max_prompt_length": "data.max_prompt_tokens",
    "reward_funcs": "rewards",
    "num_generations": "algorithm.group_size",
    "beta": "algorithm.kl_coef",
    "kl_loss_coef": "algorithm.kl_coef",
    "kl_loss_type": "algorithm.kl_estimator",
    "ref_model_sync_steps": "algorithm.reference_refresh_steps",
    "epsilon": "algorithm.clip_low",
    "epsilon_high": "algorithm.clip_high",
    "clip_ratio_low": "algorithm.clip_low",
    "clip_ratio_high": "algorithm.clip_high",
    "clip_ratio_c": "algorithm.dual_clip",
    "loss_type": "algorithm.aggregation",
    "loss_agg_mode": "algorithm.aggregation",
    "importance_sampling_level": "algorithm.ratio",
    "scale_rewards": "algorithm.advantage",
    "norm_adv_by_std_in_grpo": "algorithm.advantage",
    "adv_estimator": "algorithm.advantage",
    "vllm_importance_sampling_mode": "algorithm.importance",
    "filter_groups": "algorithm.dynamic_sampling",
    "max_num_gen_batches": "algorithm.dynamic_sampling_max_rounds",
    "max_completion_length": "sampling.max_tokens",
    "max_response_length": "sampling.max_tokens",
    "learning_rate": "optimizer.lr",
    "lr_scheduler_type": "optimizer.schedule",
    "warmup_style": "optimizer.schedule",
    "lr_warmup_steps": "optimizer.warmup_steps",
    "max_grad_norm": "optimizer.grad_clip",
    "vllm_gpu_memory_utilization": "engine.gpu_memory_share",
    "gpu_memory_utilization": "engine.gpu_memory_share",
    "vllm_tensor_parallel_size": "engine.tensor_parallel",
    "tensor_model_parallel_size": "engine.tensor_parallel",
    "gradient_checkpointing": "learner.recompute",
    "enable_gradient_checkpointing": "learner.recompute",
    "per_device_train_batch_size": "learner.tokens_per_micro_batch",
    "ppo_max_token_len_per_gpu": "learner.tokens_per_micro_batch",
    "lora_rank": "policy.lora.rank",
    "lora_alpha": "policy.lora.alpha",
    "save_steps": "checkpoint.every_phases",
    "save_freq": "checkpoint.every_phases",
    "save_total_limit": "checkpoint.keep",
    "max_actor_ckpt_to_keep": "checkpoint.keep",
    "eval_steps": "eval.every_steps",
    "test_freq": "eval.every_steps",
    "num_generations_eval": "eval.samples",
    "metric_for_best_model": "best.metric",
    "load_best_model_at_end": "best.export",
    "early_stopping_patience": "best.patience",
    "report_to": "trackers",
    "logger": "trackers",
}
"""Name in TRL's GRPOConfig or verl's config → key here. docs/migration.md has them side by side, with the remarks."""
MOST_PLACES = 3


def hint(kind: type[BaseModel], path: Sequence[object]) -> str:
    """Return what was probably meant by a key that is not there, for the end of a message; "" if nothing is near.

    Args:
        kind: config class of the whole recipe.
        path: of the key, indices of lists included.
    """
    *section, key = path
    everywhere = list(_paths(kind))
    found = [name for name in everywhere if name.rpartition(".")[2] == key]
    if 0 < len(found) <= MOST_PLACES:
        return f" (did you mean {' or '.join(found)}?)"
    here = FOREIGN.get(str(key))
    if here in everywhere:
        return f" ({here} here)"
    return did_you_mean(str(key), fields_at(kind, section), ".".join(map(str, section)))


def foreign(key: str) -> str:
    """Return what a key of TRL or verl is called here, for the end of a message; "" if it has no name of its own."""
    return f" ({FOREIGN[key]} here)" if key in FOREIGN else ""


def shape_of_section(error: str, key: str, found: object) -> str:
    """Return how a recipe writes what was expected in place of a value of another shape; "" for other errors.

    Args:
        error: pydantic's name of the error.
        key: dotted, indices of lists included.
        found: the value that the recipe has.
    """
    header = ".".join(part for part in key.split(".") if not part.isdecimal())
    if error in ("model_type", "model_attributes_type", "dict_type"):
        if isinstance(found, list):
            return f"expected one section: write [{header}] in place of [[{header}]]"
        return f"expected a section: write its keys below [{header}]"
    if error in ("tuple_type", "list_type"):
        if isinstance(found, Mapping):
            return f"expected a list of sections: write [[{header}]] in place of [{header}], again for each further one"
        if isinstance(found, str):
            return f"expected a list: [{json.dumps(found)}]"
        return "expected a list: values in [ ]"
    return ""


def did_you_mean(word: str, known: Sequence[str], prefix: str = "") -> str:
    """Return " (did you mean …?)", or "" if nothing known is close."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {prefix + '.' if prefix else ''}{near[0]}?)" if near else ""


def fields_at(kind: type[BaseModel], path: Sequence[object]) -> list[str]:
    """List the keys of the section at `path`, through nested models, optional and tuple fields, and named tables."""
    current: object = kind
    is_named = False  # inside a table of sections, whose keys are names that the recipe chooses
    for part in path:
        if isinstance(part, int):
            continue
        if is_named:
            is_named = False
            continue
        field = getattr(current, "model_fields", {}).get(part)
        current = model_in(field.annotation) if field else None
        is_named = field is not None and get_origin(field.annotation) is dict
    return [] if is_named else sorted(getattr(current, "model_fields", {}))


def model_in(annotation: object) -> object:
    """Return the config class that a key's type holds; None if its values are no sections."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = model_in(inner)
        if found is not None:
            return found
    return None


def _paths(kind: object, prefix: str = "") -> Iterator[str]:
    """Yield the path of every key of a recipe; lists and tables of sections have none of their own."""
    for name, field in getattr(kind, "model_fields", {}).items():
        yield prefix + name
        if get_origin(field.annotation) not in (dict, tuple):
            yield from _paths(model_in(field.annotation), f"{prefix}{name}.")
