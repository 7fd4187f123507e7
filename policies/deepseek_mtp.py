"""transformers' DeepSeek-V3 with the multi-token-prediction layers that published checkpoints hold.

They stand behind the main layers, where checkpoints have them (model.layers.61 of V3): transformers' forward runs the
first `num_hidden_layers` and never comes to them. Importing this loads transformers; policies/mtp.py does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3


class SharedHead(nn.Module):
    """The norm in front of the output head; the head itself is the policy's."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.norm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class MtpLayer(v3.DeepseekV3DecoderLayer):
    """One depth of multi-token prediction (V3 §2.2, eq. 21–23); modules as checkpoints name them."""

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.enorm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.hnorm = v3.DeepseekV3RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.eh_proj = nn.Linear(2 * config.hidden_size, config.hidden_size, bias=False)
        self.shared_head = SharedHead(config)

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, embeddings: Tensor, **keywords: Any
    ) -> Tensor:
        """States of the depth before and embeddings of the tokens `depth` further on → states of this depth,
        behind the norm. All (1, T, D)."""
        joined = self.eh_proj(torch.cat([self.enorm(embeddings), self.hnorm(hidden_states)], dim=-1))
        return self.shared_head.norm(super().forward(joined, **keywords))


class DeepseekV3ForCausalLM(v3.DeepseekV3ForCausalLM):
    """The name is transformers', for config.json takes the architecture from it."""

    # Published checkpoints repeat the embedding and the head in each of these layers.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012  # as transformers declares it
        r"model\.layers\.\d+\.(embed_tokens|shared_head\.head)\.weight"
    ]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        first = config.num_hidden_layers
        self.model.layers.extend(MtpLayer(config, first + k) for k in range(config.num_nextn_predict_layers))
        self.post_init()
