"""The answer of a plan: does it fit, what is the most that does, and what does a step cost.

All numbers are derived from those of the configuration; none is measured.
Shapes: s positions, b examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tightfit.memory.assumptions import Assumptions
from tightfit.memory.breakdown import Breakdown
from tightfit.memory.budget import MemoryBudget, largest
from tightfit.memory.cost import Cost
from tightfit.plan.subject import Subject

MOST_EXAMPLES = 2**16
LARGEST_OF_FAMILY = 2**8  # 3 · 10¹² parameters


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
    budget_bytes: int | None  # None: no limit
    largest_batch: int
    largest_sequence: int | None
    largest_model: str | None  # of the family, for the asked sequence and batch
    largest_model_parameters: int | None
    cost: Cost
    seconds_at_peak: float | None  # a lower bound: the device at its peak rates
    assumptions: Assumptions | None  # of transformers
    in_flash_bytes: int = 0  # of the weights, which take nothing of the budget

    @property
    def fits(self) -> bool:
        return self.budget_bytes is None or self.memory.total - self.in_flash_bytes <= self.budget_bytes

    def as_dict(self) -> dict[str, Any]:
        """Flat, bytes by kind in columns of their own."""
        fields = {name: value for name, value in vars(self).items() if name not in ("memory", "cost", "assumptions")}
        kinds = {f"{kind}_bytes": count for kind, count in self.memory.as_dict().items()}
        assumed = asdict(self.assumptions) if self.assumptions else {}
        return {**fields, **asdict(self.cost), **kinds, "fits": self.fits, "derived": True, **assumed}


def answer(subject: Subject, budget: MemoryBudget, s: int, b: int) -> Answer:
    """What `budget` makes of `subject`. Raises ValueError for a batch or sequence that the model cannot take."""

    def fits(subject: Subject, s: int, b: int) -> bool:
        return budget.allows(subject.memory(s, b).total - budget.in_flash(subject.frozen_bytes(s)))

    need = subject.memory(s, b)  # first, so that what cannot be is refused in the name of what was asked for
    member = largest_member(subject, lambda member: fits(member, s, b))
    return Answer(
        device=budget.name,
        model=subject.model,
        optimizer=subject.optimizer,
        sequence_length=s if subject.longest else None,
        batch_size=b,
        parameters=subject.parameters(s),
        memory=need,
        budget_bytes=budget.bytes,
        largest_batch=largest(lambda b: fits(subject, s, b), MOST_EXAMPLES),
        largest_sequence=largest(lambda s: fits(subject, s, b), subject.longest) if subject.longest else None,
        largest_model=member.model if member else None,
        largest_model_parameters=(member.parameters(s) if member else 0) if subject.family else None,
        cost=subject.cost(s, b),
        seconds_at_peak=step_seconds(subject, budget, s, b),
        assumptions=subject.assumptions,
        in_flash_bytes=budget.in_flash(subject.frozen_bytes(s)),
    )


def largest_member(subject: Subject, fits: Callable[[Subject], bool]) -> Subject | None:
    """The largest of the family that fits; one too small for the method does not, though larger ones may."""
    family = subject.family
    if family is None:
        return None

    def fits_or_is_too_small(place: int) -> bool:
        try:
            return fits(family(place))
        except ValueError:
            return True

    place = largest(fits_or_is_too_small, LARGEST_OF_FAMILY)
    try:
        return family(place) if place and fits(family(place)) else None
    except ValueError:
        return None


def step_seconds(subject: Subject, budget: MemoryBudget, s: int, b: int) -> float | None:
    """The least a step can take: each pass by its operations or by reading the weights, whichever is longer; then the
    sweeps, which read and write every trained weight, and the update of what has a gradient or a state."""
    if budget.flops_per_second is None or budget.bytes_per_second is None:
        return None
    held, cost = subject.memory(s, b), subject.cost(s, b)
    reading = held.parameters / budget.bytes_per_second / cost.together
    forward = max(subject.forward_flops(s, b) / budget.flops_per_second, reading)
    swept = 2 * cost.sweeps * held.parameters * subject.trained_share(s)
    moved = swept + held.gradients + 2 * held.optimizer_state
    return (cost.forward + cost.backward) * forward + moved / budget.bytes_per_second
