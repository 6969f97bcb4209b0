"""What a forward pass leaves behind for its backward pass, in bytes and in gradients."""

import copy

import torch
from torch import nn

from tightfit.memory.measured import LiveBytes
from tightfit.optimizers.activations.activations import Activations
from tightfit.optimizers.base import Batch
from tightfit.optimizers.phases import Phases
from tightfit.run.evaluate import cross_entropy


def loss_and_gradients(
    policy: Activations, model: nn.Module, batch: Batch, seed: int = 0
) -> tuple[float, torch.Tensor]:
    """The loss of a step, and all gradients in a row; `model` is left as it is."""
    model = copy.deepcopy(model)
    keeper = policy.prepare(model, Phases(), seed)
    with keeper.around(batch):
        loss = cross_entropy(model, batch)
        loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def kept_bytes(policy: Activations, model: nn.Module, batch: Batch) -> int:
    """The bytes that live between the forward pass and the backward pass, beside parameters and batch."""
    keeper = policy.prepare(model, Phases(), 0)
    live = LiveBytes(model.parameters(), (batch.inputs, batch.labels))
    weights = live.live
    with live, keeper.around(batch):
        loss = cross_entropy(model, batch)
        kept = live.live - weights
        del loss
    return kept


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()
