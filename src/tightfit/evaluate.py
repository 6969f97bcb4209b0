"""Accuracy and loss of a model at rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.datasets.dataset import Examples
from tightfit.datasets.stream import Encoding
from tightfit.optimizers.base import Batch, Predictor

SCORING_BATCH = 500  # examples scored at once, unless the model says so in `scoring_batch`


def cross_entropy(model: Predictor, batch: Batch) -> torch.Tensor:
    """The objective of classification: mean cross-entropy in nats; logits of any kind are read as floats."""
    return F.cross_entropy(model(batch.inputs).float(), batch.labels)


@dataclass(frozen=True)
class Score:
    accuracy: float  # fraction
    loss: float  # mean cross-entropy in nats


@torch.no_grad()
def score(model: nn.Module, examples: Examples, encode: Encoding) -> Score:
    """Accuracy and mean loss of `model` on all of `examples`; the model is left as it was."""
    was_training = model.training
    model.eval()
    correct, loss, size = 0, 0.0, getattr(model, "scoring_batch", SCORING_BATCH)
    for start in range(0, len(examples.labels), size):
        labels = examples.labels[start : start + size]
        logits = model(encode(examples.inputs[start : start + size])).float()
        correct += int((logits.argmax(dim=1) == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    model.train(was_training)
    return Score(correct / len(examples.labels), loss / len(examples.labels))
