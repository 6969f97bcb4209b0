"""Attention in a few products that every runtime has, for programs of causal language models.

PyTorch's own is decomposed, when it is exported, into products between operators that guard against rows where all is
masked, of which XNNPACK has none; and the library repeats keys and values for the queries that share them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tightfit.models.hf_library import transformers
from tightfit.models.language_model import GROUPED, CausalLM


def use_grouped_attention(model: nn.Module) -> None:
    """From now on a causal language model computes attention by `grouped`; other models are as they were."""
    if isinstance(model, CausalLM):
        transformers().AttentionInterface.register(GROUPED, grouped)
        model.lm.config._attn_implementation = GROUPED


def grouped(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """What the library asks of a kernel: (b, s, h, d). Heads that share their keys are rows of one matrix.

    query: (b, h, s, d); key, value: (b, k, s, d), where k divides h; attention_mask: (1, 1, s, s), added to scores.
    """
    batch, heads, width, size = query.shape
    groups = batch * key.shape[1]
    keys, values = (each.reshape(groups, width, size) for each in (key, value))
    scores = torch.bmm((query * scaling).reshape(groups, -1, size), keys.transpose(1, 2))
    chances = (scores.view(batch, heads, width, width) + attention_mask).softmax(dim=-1)
    mixed = torch.bmm(chances.view(groups, -1, width), values).view(batch, heads, width, size)
    return mixed.transpose(1, 2).contiguous(), None
