"""The check that every exported file goes through: its first steps against those of training in the framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from tightfit.models.adapters.mp_lora import adapters_of
from tightfit.optimizers.base import Batch
from tightfit.optimizers.p_rge import PRGE
from tightfit.optimizers.schedules import value_at
from tightfit.optimizers.zeroth_order import clipped_slope
from tightfit.program.driver import arguments
from tightfit.program.manifest import Manifest
from tightfit.program.runtimes import Arguments, Arrays, open_program
from tightfit.run.evaluate import cross_entropy
from tightfit.run.loss_log import LossLog

STEPS = 3
# Kernels of runtimes add in another order. What a probe changes must be far above that, and a slip far above this.
OF_THE_SPREAD = 0.01  # of the losses, from the least to the greatest
OF_THE_LARGEST = 1e-4  # of the numbers in the adapters
ROUNDING = 2e-6  # of a loss near 1, in float32


@dataclass(frozen=True)
class Reference:
    """The first steps of training in the framework: what each call is given, and what should come of it."""

    calls: list[Arguments]
    losses: list[np.ndarray]  # (2q,) of each call but the last, which makes the last update alone
    adapters: Arrays  # after that


def first_steps(optimizer: PRGE, model: nn.Module, seed: int, batches: Sequence[Batch]) -> Reference:
    """Train `model` on `batches` and note what happens. It has the adapters then, as they were in the beginning."""
    log = LossLog(cross_entropy)
    learner = replace(optimizer, parallel="both").bind(model, log, seed)
    initial = {name: adapter.B.clone() for name, adapter in adapters_of(model).items()}
    queries, calls, losses = optimizer.queries, [], []
    lr, slopes = 0.0, [0.0] * queries
    for batch in batches:
        eps, clip = value_at(optimizer.eps, batch.epoch), value_at(optimizer.clip, batch.epoch)
        calls.append(arguments(batch.inputs.numpy(), batch.labels.numpy(), batch.step, lr, eps, slopes))
        learner.step(batch)
        new = list(log.losses[-2 * queries :])
        losses.append(np.array(new, dtype=np.float32))
        slopes = [clipped_slope(*pair, eps, clip) for pair in zip(new[:queries], new[queries:], strict=True)]
        lr = value_at(optimizer.lr, batch.epoch)
    inputs, labels, *_ = calls[-1]
    calls.append(arguments(inputs, labels, batches[-1].step + 1, lr, eps, slopes))
    trained = {f"{name}.B": adapter.B.numpy().copy() for name, adapter in adapters_of(model).items()}
    for name, adapter in adapters_of(model).items():
        adapter.B.data.copy_(initial[name])
    return Reference(calls, losses, trained)


def check(path: Path, manifest: Manifest, reference: Reference) -> dict[str, float]:
    """Run the program at `path` beside the framework; returns how far apart they were, and what was allowed.

    Raises ValueError when that is more than another order of summation explains.
    """
    program = open_program(path, manifest)
    losses = [program.call(call) for call in reference.calls]
    reached = program.adapters()
    distance = {
        "losses": largest_difference(losses[:-1], reference.losses),
        "losses_allowed": max(ROUNDING, OF_THE_SPREAD * float(np.ptp(reference.losses))),
        "adapters": max(largest_difference(reached[name], B) for name, B in reference.adapters.items()),
        "adapters_allowed": OF_THE_LARGEST * max(float(np.abs(B).max()) for B in reference.adapters.values()),
    }
    for what in ("losses", "adapters"):
        if not distance[what] <= distance[f"{what}_allowed"]:  # so that it is refused where it is not a number
            raise ValueError(
                f"the {manifest.format} program computes something else: after {len(losses) - 1} steps its {what} are "
                f"{distance[what]:.2g} from the framework's and rounding explains {distance[f'{what}_allowed']:.2g}; "
                "it is not kept; try another format, or report this with the versions of its libraries"
            )
    return distance


def largest_difference(some: np.ndarray | list[np.ndarray], others: np.ndarray | list[np.ndarray]) -> float:
    return float(np.abs(np.asarray(some, dtype=np.float64) - np.asarray(others)).max())
