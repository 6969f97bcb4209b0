"""Which of two perturbed passes has the higher loss, the only thing an int8 zeroth-order step needs to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from tightfit.numerics.int8.arithmetic import Number
from tightfit.numerics.int8.loss import loss_difference, mean_loss
from tightfit.optimizers.base import Batch, Objective

LossSign = Literal["float", "integer"]
# (plus, minus, batch, objective) to the sign of loss(plus) − loss(minus) and the mean of both losses, for the record.
Comparison = Callable[[Number, Number, Batch, Objective], tuple[int, float]]


def sign(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def float_comparison(plus: Number, minus: Number, batch: Batch, objective: Objective) -> tuple[int, float]:
    """The losses as floating point computes them: INT8 in ElasticZO."""
    losses = [objective(lambda _, logits=logits: logits, batch).item() for logits in (plus, minus)]
    return sign(losses[0] - losses[1]), sum(losses) / 2


@dataclass(frozen=True)
class IntegerComparison:
    """Integers alone, with `fraction_bits` binary places of each logarithm (0: as in the paper): INT8*."""

    fraction_bits: int

    def __call__(self, plus: Number, minus: Number, batch: Batch, objective: Objective) -> tuple[int, float]:
        difference = loss_difference(plus, minus, batch.labels, self.fraction_bits)
        return sign(difference), mean_loss(plus, minus, batch.labels)


def comparison(loss_sign: LossSign, fraction_bits: int) -> Comparison:
    """The comparison so named. Raises ValueError for one that does not exist."""
    if loss_sign not in ("float", "integer"):
        raise ValueError(f"loss_sign={loss_sign!r} is not an arithmetic; choose float or integer")
    if not 0 <= fraction_bits <= 6:
        raise ValueError(f"fraction_bits={fraction_bits} but the tables of powers of two hold 0–6; choose 0–6")
    return float_comparison if loss_sign == "float" else IntegerComparison(fraction_bits)


@dataclass
class SignAudit:
    """How often the sign taken is that of float64, over all steps so far."""

    steps: int = 0
    agreed: int = 0
    ties: int = 0  # steps without a sign, which change nothing

    def count(self, taken: int, plus: Number, minus: Number, labels: torch.Tensor) -> None:
        exact = [F.cross_entropy(torch.ldexp(n.values.double(), n.exponent), labels).item() for n in (plus, minus)]
        self.steps += 1
        self.agreed += taken == sign(exact[0] - exact[1])
        self.ties += taken == 0

    def scalars(self) -> dict[str, float]:
        """Shares of the steps so far; none before the first."""
        return {"sign_agreement": self.agreed / self.steps, "sign_ties": self.ties / self.steps} if self.steps else {}
