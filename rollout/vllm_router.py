"""The engine's routers in float32, as the learner's are (policies/router.py).

What vLLM 0.32.0 does by itself (deepseek_v2.py, gate_linear.py): the router's weight and logits have the engine's
dtype, and only sigmoid, correction bias and top-k are float32. With `moe_router_dtype = "float32"` in the model's
config the logits are float32: on a GPU from a bfloat16 product that is summed in float32, on a CPU from a bfloat16
product that is cast afterwards. Only a float32 weight makes vLLM cast the hidden states up and compute the product in
float32, on every device. A float32 engine computes the same bits with and without this class.

Importing this file registers the class; vLLM imports rollout/vllm_worker.py in each worker process before it builds the
model.
"""

from __future__ import annotations

from typing import Any  # of vLLM's constructor arguments

import torch
from vllm.model_executor.custom_op import PluggableLayer
from vllm.model_executor.layers.fused_moe.router.gate_linear import GateLinear


@PluggableLayer.register_oot(name="GateLinear")
class Float32GateLinear(GateLinear):
    """vLLM's router projection with float32 weights and float32 logits."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords |= {"params_dtype": torch.float32, "out_dtype": torch.float32}
        super().__init__(*arguments, **keywords)
