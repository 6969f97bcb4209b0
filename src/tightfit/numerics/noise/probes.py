"""Where the weights are while a loss is taken at weights + scale × z, and how they get back.

`InPlace` moves the weights themselves. It holds nothing, and takes two sweeps a direction: the way back from one probe,
the updates and the way to the next are sums of one pass, so the weights are at rest only when that is asked for. But
each of three sums a step is rounded, so weights drift by rounding errors, in 16 bits until nothing is left.

`LayerByLayer` never moves them: each layer gets a moved copy of its own weights while it runs. With a step of zero the
weights stay as they are, bit for bit, in every type. Costs the copy, as large as the largest layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import nn

from tightfit.numerics.noise.counter_noise import MANTISSA_BITS
from tightfit.numerics.noise.flat import flat, shaped_as
from tightfit.numerics.noise.perturbation import Move, Perturbation, Piece

Restore = Literal["merged", "exact"]
Change = Callable[[Piece], object]

# Bytes of a block that the C library takes from the system anew each time, page by page: for the embedding of a
# language model that costs more than writing the copy. Smaller blocks it keeps by itself.
LARGE = 32 * 2**20


class Probe(Protocol):
    def at(
        self, scale: float, step: int, query: int = 0, *, without_pass: bool = False
    ) -> AbstractContextManager[object]:
        """While the result is entered, the model computes at weights + `scale` × z(step, query).

        without_pass: the loss is known, so that the model need not run.
        """
        ...

    def update_(self, lr: float, slope: float, step: int, query: int = 0) -> None:
        """Move the weights at rest against `slope` along z(step, query), by the share of a query in `lr`.

        That may be put off until the next probe or `rest`.
        """
        ...

    def rest(self) -> None:
        """Bring the weights to rest, with all updates made."""
        ...

    def state(self) -> list[float]:
        """What directions depend on beside the weights at rest, the seed and the step: mostly nothing."""
        ...

    def load_state(self, state: list[float]) -> None: ...


class ProbeInPieces(Probe, Protocol):
    """A probe whose directions can be seen piece by piece."""

    def sweep(self, change: Change, step: int, queries: Sequence[int]) -> None:
        """With the weights at rest, let `change` see all of them in pieces, each with its part of the directions of
        `queries`: see `Perturbation.sweep`."""
        ...


class InPlace:
    """Moves the weights, and from one probe straight to the next, past the updates between them."""

    def __init__(self, perturbation: Perturbation) -> None:
        self._perturbation = perturbation
        self._due: list[Move] = []  # put off: the weights move when a loss is to be taken, or when they are to rest
        self._offset, self._direction = 0.0, (0, 0)  # from rest, of the weights when all that is due is done

    @property
    def perturbation(self) -> Perturbation:
        return self._perturbation

    def at(
        self, scale: float, step: int, query: int = 0, *, without_pass: bool = False
    ) -> AbstractContextManager[object]:
        del without_pass  # weights end where the sums of all moves are rounded to
        self._plan_move_to(scale, step, query)
        self._move()
        return nullcontext()

    def update_(self, lr: float, slope: float, step: int, query: int = 0) -> None:
        self._plan_move_to(-lr * slope / self._perturbation.queries, step, query)
        self._offset = 0.0

    def rest(self) -> None:
        self._plan_return()
        self._move()

    def sweep(self, change: Change, step: int, queries: Sequence[int]) -> None:
        self.rest()
        self._perturbation.sweep(change, step, queries)

    def state(self) -> list[float]:
        return self._perturbation.state()

    def load_state(self, state: list[float]) -> None:
        self._perturbation.load_state(state)

    def _plan_move_to(self, scale: float, step: int, query: int) -> None:
        if self._direction != (step, query):
            self._plan_return()
        self._due.append(Move(scale - self._offset, step, query))
        self._offset, self._direction = scale, (step, query)

    def _plan_return(self) -> None:
        if self._offset:
            self._due.append(Move(-self._offset, *self._direction))
            self._offset = 0.0

    def _move(self) -> None:
        due, self._due = self._due, []
        if due:
            self._perturbation.add_all_(due)


class LayerByLayer:
    """Gives each module of `model` a moved copy of its own parameters for as long as it runs.

    A parameter that is used outside its own module's forward pass is not moved: see `at`.
    """

    asked, remedy = "restore='exact'", "choose restore=merged"

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        self._perturbation = perturbation
        self._spare: torch.Tensor | None = None  # memory of the largest copy, between two uses
        self._names = {parameter: name for name, parameter in model.named_parameters()}
        self._at_rest = {parameter: parameter.data for parameter in perturbation.streams}
        self._modules = [
            (module, own)
            for module in model.modules()
            if (own := [p for p in module.parameters(recurse=False) if p in perturbation.streams])
        ]

    @property
    def perturbation(self) -> Perturbation:
        return self._perturbation

    @contextmanager
    def at(self, scale: float, step: int, query: int = 0, *, without_pass: bool = False) -> Generator[None]:
        """Raises ValueError when a loss was taken without running the module of some parameter."""
        if without_pass:
            yield
            return
        moved: set[nn.Parameter] = set()

        def enter(own: list[nn.Parameter], *_: Any) -> None:
            self._move_copies(own, scale, step, query)
            moved.update(own)

        def leave(own: list[nn.Parameter], module: nn.Module, given: Any, answer: Any) -> Any:
            return self._return(own, answer)

        with ExitStack() as hooks:
            for module, own in self._modules:
                hooks.enter_context(module.register_forward_pre_hook(partial(enter, own)))
                hooks.enter_context(module.register_forward_hook(partial(leave, own), always_call=True))
            yield
        self._check_moved(moved)

    def _move_copies(self, own: list[nn.Parameter], scale: float, step: int, query: int) -> None:
        for parameter in own:
            copy = self._room_for(self._at_rest[parameter])
            self._perturbation.write(parameter, copy, scale, step, query)
            parameter.data = shaped_as(copy, self._at_rest[parameter])

    def _return(self, own: list[nn.Parameter], answer: Any) -> Any:
        """What the module answers that had moved copies of its `own` parameters, now at rest again."""
        if any(answer is parameter for parameter in own):
            answer = answer.data  # the moved copy: the parameter itself is about to be at rest again
        for parameter in own:
            self._keep_room(parameter.data, answer)
            parameter.data = self._at_rest[parameter]
        return answer

    def _check_moved(self, moved: set[nn.Parameter]) -> None:
        unmoved = [self._names[parameter] for parameter in self._at_rest if parameter not in moved]
        if unmoved:
            raise ValueError(
                f"{self.asked} but {unmoved[0]} is not used by its own module's forward pass; {self.remedy}"
            )

    def _room_for(self, weights: torch.Tensor) -> torch.Tensor:
        """Memory for a flat copy of `weights`; a large one is the last that was used, if it fits exactly."""
        spare = self._spare
        if spare is not None and (spare.numel(), spare.dtype) == (weights.numel(), weights.dtype):
            self._spare = None
            return spare
        return torch.empty(weights.numel(), dtype=weights.dtype, device=weights.device)

    def _keep_room(self, copy: torch.Tensor, answer: Any) -> None:
        """Keep the memory of a large `copy` for the next one, unless `answer` is still in it."""
        if copy.nbytes > LARGE and (self._spare is None or self._spare.nbytes <= copy.nbytes):
            lent = isinstance(answer, torch.Tensor) and answer.untyped_storage()._cdata == copy.untyped_storage()._cdata
            self._spare = None if lent else flat(copy)

    def update_(self, lr: float, slope: float, step: int, query: int = 0) -> None:
        scale = -lr * slope / self._perturbation.queries
        if scale:  # adding zeros would turn −0 into 0
            self._perturbation.add_(scale, step, query, stochastically=True)

    def sweep(self, change: Change, step: int, queries: Sequence[int]) -> None:
        self._perturbation.sweep(change, step, queries)

    def rest(self) -> None:
        """They are, and were while they were probed."""

    def state(self) -> list[float]:
        return self._perturbation.state()

    def load_state(self, state: list[float]) -> None:
        self._perturbation.load_state(state)

    def release(self) -> None:
        """Give back the memory that waits for the next copy."""
        self._spare = None


def probe_for(restore: Restore, model: nn.Module, perturbation: Perturbation) -> ProbeInPieces:
    """The probe that `restore` names; warns of weights that moving in place would spoil."""
    if restore == "exact":
        return LayerByLayer(model, perturbation)
    short = {parameter.dtype for parameter in perturbation.streams if parameter.dtype in MANTISSA_BITS}
    for dtype in short:
        warnings.warn(
            f"restore='merged' rounds {dtype} weights three times a step: they drift, and small updates are lost; "
            "choose restore=exact",
            stacklevel=2,
        )
    return InPlace(perturbation)


def check_restore(restore: str) -> None:
    """Raise ValueError for a name that is none."""
    if restore not in ("merged", "exact"):
        raise ValueError(f"restore={restore!r} is not a way to restore weights; choose merged or exact")
