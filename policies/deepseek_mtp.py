"""transformers' DeepSeek-V3 with the multi-token-prediction layers that published checkpoints hold.

They follow the main layers, as in checkpoints (model.layers.61 of V3). transformers' forward runs only the first
`num_hidden_layers`. Importing this module loads transformers; importing policies/mtp.py does not.
"""

from __future__ import annotations

from typing import Any  # arguments of a decoder layer of transformers

import torch
from torch import Tensor, nn
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3

from policies.model import HfConfig


class SharedHead(nn.Module):
    """The norm before the output head; the head itself is the policy's."""

    def __init__(self, config: HfConfig) -> None:
        super().__init__()
        self.norm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class MtpLayer(v3.DeepseekV3DecoderLayer):
    """One depth of multi-token prediction (V3 §2.2, eq. 21–23), with the module names of checkpoints."""

    def __init__(self, config: HfConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.enorm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.hnorm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.shared_head = SharedHead(config)

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, embeddings: Tensor, **keywords: Any
    ) -> Tensor:
        """Return this depth's states after the norm, (1, T, D).

        Args:
            hidden_states: (1, T, D) states of the previous depth.
            embeddings: (1, T, D) embeddings of the tokens `depth` positions ahead.
            keywords: further arguments of transformers' decoder layer.
        """
        joined = self.eh_proj(torch.cat([self.enorm(embeddings), self.hnorm(hidden_states)], dim=-1))
        normed: Tensor = self.shared_head.norm(super().forward(joined, **keywords))
        return normed


class DeepseekV3ForCausalLM(v3.DeepseekV3ForCausalLM):  # type: ignore[no-untyped-call]
    """The policy with these layers. transformers writes the class name into config.json, so it must be this one."""

    # Published checkpoints repeat the embedding and the head in each of these layers.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012  # as transformers declares it
        r"model\.layers\.\d+\.(embed_tokens|shared_head\.head)\.weight"
    ]

    def __init__(self, config: HfConfig) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        first = config.num_hidden_layers
        self.model.layers.extend(MtpLayer(config, first + k) for k in range(config.num_nextn_predict_layers))
        self.post_init()  # type: ignore[no-untyped-call]
