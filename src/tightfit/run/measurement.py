"""The memory of real steps on throwaway copies of a model: what a method needs before it is let train."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tightfit.memory.enforcement import Limit
from tightfit.memory.measured import (
    ACTIVATIONS,
    GRADIENTS,
    OPTIMIZER_STATE,
    PERTURBATION,
    STEPS_TO_PEAK,
    TEMPORARIES,
    LiveBytes,
    Peak,
    measure,
    peak_live_bytes,
)
from tightfit.memory.process import ProcessPeak
from tightfit.optimizers.base import Batch, Learner, Optimizer
from tightfit.run.evaluate import cross_entropy

# What the tensors are that a learner makes in its phases, until more is known of them; the others are temporaries.
KIND_OF_PHASE = {"forward": ACTIVATIONS, "recompute": ACTIVATIONS, "perturb": PERTURBATION}


@dataclass(frozen=True)
class TrainingPeak:
    """What training held at its worst moment: its tensors, and by itself the process around them."""

    tensors: Peak
    process: ProcessPeak

    def as_dict(self) -> dict[str, Any]:
        reserved = {} if self.tensors.reserved is None else {"allocator_reserved_bytes": self.tensors.reserved}
        return {
            "measured_peak_bytes": self.tensors.bytes,
            "measured_peak_by_kind": self.tensors.by_kind,
            **reserved,
            "process_peak_bytes": self.process.bytes,
            "process_peak_source": self.process.source,
        }


def training_peak(optimizer: Optimizer, model: nn.Module, batch: Batch, seed: int, limit: Limit) -> TrainingPeak:
    """The measured peak of training a copy of `model`, which counts, on `batch`.

    Exactly known are parameters, gradients (what is left in `.grad`) and optimizer state (what the learner saves beside
    the model). Activations are what forward passes make, a perturbation what perturbing makes; all else, errors and
    what an update works with among it, is temporary.
    Raises OverBudget when the limit does not let it be made.
    """

    def train(trained: nn.Module, live: LiveBytes) -> None:
        with live:
            learner = optimizer.bind(trained, cross_entropy, seed)
        live.kind_of_new = lambda: KIND_OF_PHASE.get(learner.phases.current, TEMPORARIES)
        with gradients_marked(trained, live):
            for step in range(STEPS_TO_PEAK):
                with live:
                    learner.step(replace(batch, step=step))
                live.mark(states_of(learner), OPTIMIZER_STATE)

    def measured() -> Peak:
        trained = copy.deepcopy(model).to(batch.inputs.device)
        return measure(partial(train, trained), trained.parameters(), uncounted=(batch.inputs, batch.labels))

    with limit, ProcessPeak() as process:
        if batch.inputs.is_cuda:
            measured()  # libraries take workspaces at their first use and keep them: they are no part of a step
        tensors = measured()
    return TrainingPeak(tensors, process)


def inference_peak(model: nn.Module, batch: Batch) -> int:
    """The measured peak, in bytes, of one pass of a copy of `model`, which counts, that keeps nothing."""
    scored = copy.deepcopy(model).to(batch.inputs.device)
    infer = torch.no_grad()(lambda: cross_entropy(scored, batch))
    return peak_live_bytes(infer, resident=scored.parameters(), uncounted=(batch.inputs, batch.labels))


@contextmanager
def gradients_marked(model: nn.Module, live: LiveBytes) -> Generator[None]:
    """Inside, each gradient is marked as one when it is complete."""

    def mark(parameter: torch.Tensor) -> None:
        if parameter.grad is not None:
            live.mark([parameter.grad], GRADIENTS)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [parameter.register_post_accumulate_grad_hook(mark) for parameter in trained]
    yield
    for hook in hooks:
        hook.remove()


def states_of(learner: Learner) -> Iterator[torch.Tensor]:
    """The tensors that a learner saves beside the model's."""
    beside = {name: part for name, part in learner.state_dict().items() if name != "model"}
    return (leaf for leaf in tree_leaves(beside) if isinstance(leaf, torch.Tensor))
