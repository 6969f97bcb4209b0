"""How right a model at rest is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.datasets.dataset import Examples
from tightfit.models.base import Encoding, traits_of
from tightfit.optimizers.base import Batch, Predictor
from tightfit.run.metrics import Score


def cross_entropy(model: Predictor, batch: Batch) -> torch.Tensor:
    """The objective of classification: mean cross-entropy in nats; logits of any kind are read as floats."""
    return F.cross_entropy(model(batch.inputs).float(), batch.labels)


def score(model: nn.Module, examples: Examples, encode: Encoding) -> Score:
    """The answers of `model` to all of `examples`, counted, and their mean loss; the model is left as it was."""
    loss, pairs, classes = 0.0, [], 0
    for logits, labels in answers(model, examples, encode):
        classes = logits.shape[1]
        pairs.append(labels * classes + logits.argmax(dim=1))
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    counts = torch.cat(pairs).bincount(minlength=classes * classes).view(classes, classes)
    return Score(counts.tolist(), loss / len(examples.labels))


def right_answers(model: nn.Module, examples: Examples, encode: Encoding) -> torch.Tensor:
    """Which of `examples` the model gets right, (n,) bool; the model is left as it was."""
    return torch.cat([logits.argmax(dim=1) == labels for logits, labels in answers(model, examples, encode)])


@torch.no_grad()
def answers(model: nn.Module, examples: Examples, encode: Encoding) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits and labels of a few hundred examples at a time, in order."""
    was_training = model.training
    model.eval()
    size = traits_of(model).scoring_batch
    for start in range(0, len(examples.labels), size):
        part = slice(start, start + size)
        yield model(encode(examples.inputs[part])).float(), examples.labels[part]
    model.train(was_training)
