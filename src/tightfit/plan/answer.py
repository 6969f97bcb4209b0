"""The answer of a plan: does it fit, what is the most that does, and what does a step cost.

All numbers are derived from those of the configuration; none is measured.
Shapes: s positions, b examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.budget import largest
from tightfit.plan.subject import Device, Subject

MOST_EXAMPLES = 2**16
LARGEST_OF_FAMILY = 2**10


@dataclass(frozen=True)
class Answer:
    """One row of a plan. The largest batch and sequence each keep the other as it was asked for; 0: none fits."""

    device: str
    model: str
    optimizer: str
    sequence_length: int | None
    batch_size: int
    parameters: int
    memory: Breakdown
    budget_bytes: int
    largest_batch: int
    largest_sequence: int | None
    largest_model: str | None  # of the family, for the asked sequence and batch
    largest_model_parameters: int | None
    forward_equivalents: float
    sweeps: int
    seconds_at_peak: float | None  # a lower bound: the device at its peak rates

    @property
    def fits(self) -> bool:
        return self.memory.total <= self.budget_bytes

    def as_dict(self) -> dict[str, Any]:
        """Flat, bytes by kind in columns of their own."""
        fields = {name: value for name, value in vars(self).items() if name != "memory"}
        kinds = {f"{kind}_bytes": count for kind, count in self.memory.as_dict().items()}
        return {**fields, **kinds, "fits": self.fits, "derived": True}


def answer(subject: Subject, device: Device, s: int, b: int) -> Answer:
    """What `device` makes of `subject`. Raises ValueError for a batch or sequence that the model cannot take."""

    def fits(subject: Subject, s: int, b: int) -> bool:
        return device.budget.allows(subject.memory(s, b).total)

    need = subject.memory(s, b)  # first, so that what cannot be is refused in the name of what was asked for
    family = subject.family
    member = family(n) if family and (n := largest(lambda n: fits(family(n), s, b), LARGEST_OF_FAMILY)) else None
    return Answer(
        device=device.name,
        model=subject.model,
        optimizer=subject.optimizer,
        sequence_length=s if subject.longest else None,
        batch_size=b,
        parameters=subject.parameters,
        memory=need,
        budget_bytes=device.budget.bytes or 0,
        largest_batch=largest(lambda b: fits(subject, s, b), MOST_EXAMPLES),
        largest_sequence=largest(lambda s: fits(subject, s, b), subject.longest) if subject.longest else None,
        largest_model=member.model if member else None,
        largest_model_parameters=(member.parameters if member else 0) if family else None,
        forward_equivalents=subject.forward_equivalents(s, b),
        sweeps=subject.sweeps,
        seconds_at_peak=step_seconds(subject, device, s, b),
    )


def step_seconds(subject: Subject, device: Device, s: int, b: int) -> float | None:
    """The least a step can take: each pass by its operations or by reading the weights, whichever is longer; then the
    sweeps, which read and write every weight, and the update of what has a gradient or a state."""
    if subject.forward_flops is None or device.flops_per_second is None or device.bytes_per_second is None:
        return None
    held = subject.memory(s, b)
    forward = max(
        subject.forward_flops(s, b) / device.flops_per_second,
        held.parameters / device.bytes_per_second,
    )
    moved = 2 * subject.sweeps * held.parameters + held.gradients + 2 * held.optimizer_state
    return subject.forward_equivalents(s, b) * forward + moved / device.bytes_per_second
