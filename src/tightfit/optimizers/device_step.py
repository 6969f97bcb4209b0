"""A zeroth-order step of one run, or of many side by side, as a function of device memory alone.

Nothing is read by the host: hyperparameters, the counter of directions and the moves put off lie beside the weights,
and losses are written to a buffer that the host reads when it wants to. So a step can be captured in a graph and
replayed. In float64 scalars and with the moves of `InPlace` in their order, the bits are those of
`ZerothOrderLearner`.

A run whose loss is not finite stands still after the update of that step, as if its training had ended there.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tightfit.numerics.noise.device_sweep import DeviceMoves, DeviceSweep
from tightfit.numerics.noise.perturbation import Perturbation

# The losses of k runs at their present weights, (k,) float32, from the inputs and labels of a step.
Losses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# The same with the gradients of the weights that are backpropagated, by name, (k, …) each.
Gradients = Callable[[torch.Tensor, torch.Tensor], tuple[dict[str, torch.Tensor], torch.Tensor]]

CAPACITY = 4096  # steps whose losses the buffer holds
LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True)
class Tail:
    """Weights that plain SGD trains by gradients which the passes of a step give anyway, as in ElasticZO.

    weights: by name, (k, …); feeds: whether the passes at +eps and at −eps give gradients.
    """

    weights: dict[str, torch.Tensor]
    feeds: tuple[bool, bool]
    gradients: Gradients

    def step_(self, rates: torch.Tensor, gradients: Sequence[dict[str, torch.Tensor]], alive: torch.Tensor) -> None:
        """Move the runs that are `alive` against the sum of `gradients`. rates, alive: (k,)."""
        for name, weights in self.weights.items():
            ones = [1] * (weights.dim() - 1)
            moved = weights - rates.to(weights.dtype).view(-1, *ones) * sum(each[name] for each in gradients)
            weights.copy_(torch.where(alive.view(-1, *ones), moved, weights))


class DeviceStep:
    """perturbations: of k runs, one each, of as many directions a step. Call it with the inputs and labels of a step,
    whose values were given by `set_step` and `set_values`."""

    def __init__(
        self, perturbations: Sequence[Perturbation], losses: Losses, device: torch.device, tail: Tail | None = None
    ) -> None:
        self.runs, self.queries = len(perturbations), perturbations[0].queries
        self._sweep, self._losses, self._tail = DeviceSweep(perturbations), losses, tail
        k, q = self.runs, self.queries
        self._values = torch.zeros(4, k, dtype=torch.float64, device=device)  # lr, eps, clip, and the rate of a tail
        # A tensor, as eps is: where a number of the host divides, CUDA multiplies by its reciprocal.
        self._divisor = torch.full((k,), q, dtype=torch.float64, device=device)
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._alive = torch.ones(k, dtype=torch.bool, device=device)
        self._is_due = torch.zeros(k, dtype=torch.bool, device=device)  # whether updates were put off
        self._due_scales = torch.zeros(q, k, device=device)
        self._due_counters = torch.zeros(q, k, dtype=torch.int64, device=device)
        self._noted = torch.zeros(1, dtype=torch.int64, device=device)
        self._buffer = torch.zeros(CAPACITY, k, 2 * q, device=device)
        # In the order in which `ZerothOrderLearner` makes them: first the last, on the way back from its probe.
        self._update_order = [q - 1, *range(q - 1)]

    def set_step(self, step: int) -> None:
        self._step.fill_(step)

    def set_values(self, values: Sequence[tuple[float, float, float, float]]) -> None:
        """The rate, eps and clip of each run, and the rate of its tail, until others are set."""
        self._values.copy_(torch.tensor(values, dtype=torch.float64).T)

    @torch.no_grad()
    def __call__(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        lr, eps, clip, tail_rates = self._values
        alive, losses, slopes, gradients = self._alive.clone(), [], [], []
        self._move_to_first_probe(eps)
        for query in range(self.queries):
            plus = self._pass(inputs, labels, gradients, sign=0)
            self._move([-2 * eps], [query])
            minus = self._pass(inputs, labels, gradients, sign=1)
            losses += [plus, minus]
            slopes.append(bounded((plus.double() - minus.double()) / (2 * eps), clip))
            if query + 1 < self.queries:
                self._move([eps, eps], [query, query + 1])
        self._put_off([-lr * slopes[query] / self._divisor for query in self._update_order], eps, alive)
        if self._tail:
            self._tail.step_(tail_rates, gradients, alive)
        noted = torch.stack(losses, dim=1)  # (k, 2q)
        self._buffer.index_copy_(0, self._noted, noted[None])
        self._alive.logical_and_(noted.isfinite().all(dim=1))
        self._noted.add_(1)
        self._step.add_(1)

    def _pass(
        self, inputs: torch.Tensor, labels: torch.Tensor, gradients: list[dict[str, torch.Tensor]], sign: int
    ) -> torch.Tensor:
        """The losses at the present weights; where the tail learns from this pass, its gradients join `gradients`."""
        if not self._tail or not self._tail.feeds[sign]:
            return self._losses(inputs, labels)
        own, losses = self._tail.gradients(inputs, labels)
        gradients.append(own)
        return losses

    def rest(self) -> None:
        """Make the moves that were put off."""
        self._sweep.add_(DeviceMoves(self._due_scales, self._due_counters, self._skipping(self._is_due, self.queries)))
        self._is_due.zero_()

    def read(self) -> list[list[list[float]]]:
        """The losses of the steps since the last reading, (n, k, 2q): the host waits for them."""
        steps = int(self._noted)
        losses = self._buffer[:steps].tolist()
        self._noted.zero_()
        return losses

    @contextmanager
    def idling(self, others: Iterable[torch.Tensor] = ()) -> Generator[None]:
        """Inside, steps compute but change nothing; `others` are what forward passes write to."""
        states = [self._step, self._alive, self._is_due, self._due_scales, self._due_counters, self._noted, *others]
        before = [state.clone() for state in states]
        self._alive.zero_()
        try:
            yield
        finally:
            for state, was in zip(states, before, strict=True):
                state.copy_(was)

    def _move_to_first_probe(self, eps: torch.Tensor) -> None:
        """Past the updates put off."""
        scales = torch.cat([self._due_scales, as_scale(eps)[None]])
        counters = torch.cat([self._due_counters, self._counters([0])])
        skipped = torch.where(self._alive & ~self._is_due, self.queries, self._skipping(self._alive, self.queries + 1))
        self._sweep.add_(DeviceMoves(scales, counters, skipped))

    def _move(self, scales: list[torch.Tensor], queries: list[int]) -> None:
        skipped = self._skipping(self._alive, len(scales))
        self._sweep.add_(DeviceMoves(as_scale(torch.stack(scales)), self._counters(queries), skipped))

    def _put_off(self, scales: list[torch.Tensor], eps: torch.Tensor, alive: torch.Tensor) -> None:
        scales[0] = scales[0] + eps  # from the last probe, at −eps
        self._due_scales.copy_(torch.where(alive, as_scale(torch.stack(scales)), self._due_scales))
        self._due_counters.copy_(torch.where(alive, self._counters(self._update_order), self._due_counters))
        self._is_due.logical_or_(alive)

    def _counters(self, queries: list[int]) -> torch.Tensor:
        """As `Perturbation.counter`, (m, k)."""
        first = self._step * self.queries
        return torch.stack([first + query for query in queries])[:, None].expand(-1, self.runs).contiguous()

    def _skipping(self, moving: torch.Tensor, moves: int) -> torch.Tensor:
        """All `moves` of the runs that are not `moving`."""
        return torch.where(moving, 0, moves)


def bounded(slopes: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
    """Within [−clip, clip]; what is not a number stays so."""
    return torch.maximum(-clip, torch.minimum(clip, slopes))


def as_scale(scales: torch.Tensor) -> torch.Tensor:
    """As float32: infinite where that has no number so large, as in `rounding.within`."""
    return torch.where(scales.abs() <= LARGEST, scales, scales * torch.inf).float()
