"""Both ends of a direction of low rank in one pass: outputs are moved in place of weights.

The batch goes in twice. Where the direction of a matrix W is L R, the first half of its outputs gets s L (R x) added,
which makes it (W + s L R) x, and the second half gets it taken away. So W is read once for both ends, and written by
nobody. Convolutions and embeddings are such products too. Any other module answers half by half, on moved copies of its
own parameters, as in `LayerByLayer`.

What examples of a batch share would couple both ends: the model is in evaluation mode, without dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tightfit.numerics.noise.factored import FactoredStream, Factors
from tightfit.numerics.noise.perturbation import Perturbation
from tightfit.numerics.noise.probes import LayerByLayer

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PRODUCTS = (nn.Linear, nn.Embedding, *CONVOLUTIONS)  # modules that multiply by a matrix of their own
REMEDY = "choose optimizer.direction.probed=weights"


class BothEnds(LayerByLayer):
    """Raises ValueError for a model that normalises by the statistics of its batches."""

    asked, remedy = "probed=activations", f"{REMEDY} and restore=merged"

    def __init__(self, model: nn.Module, perturbation: Perturbation) -> None:
        if any(isinstance(module, _BatchNorm) and module.training for module in model.modules()):
            raise ValueError(
                f"probed=activations puts both ends of a direction into one batch, and {type(model).__name__} "
                f"normalises by the statistics of its batches; {REMEDY}"
            )
        super().__init__(model.eval(), perturbation)
        self._model = model

    @contextmanager
    def both(self, scale: float, step: int, query: int) -> Generator[None]:
        """While the result is entered, the first half of a batch is answered at weights + `scale` × z(step, query), and
        the second half at weights − `scale` × z.

        Raises ValueError where a module is not given example after example, and when a pass was made that did not run
        the module of some parameter.
        """
        moved: set[nn.Parameter] = set()
        examples: list[int] = []  # of a pass: once it has begun

        def begin(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            examples[:] = [len(inputs[0])]

        def answer(own: list[nn.Parameter], module: nn.Module, forward: Callable[..., Any], *given: Any) -> Any:
            moved.update(own)
            inputs = of_all_examples(module, given, examples[0])
            if self._is_product(module, own):
                outputs = forward(inputs)
                self._move(module, own, inputs, outputs, scale, self._perturbation.counter(step, query))
                return outputs
            ends = []
            for half, sign in zip(inputs.chunk(2), (1, -1), strict=True):
                self._move_copies(own, sign * scale, step, query)
                answered = None
                try:
                    answered = forward(half, *given[1:])
                finally:
                    ends.append(self._return(own, answered))
            return torch.cat(ends)

        with ExitStack() as entered:
            entered.enter_context(self._model.register_forward_pre_hook(begin))
            for module, own in self._modules:
                entered.enter_context(answering(module, partial(answer, own, module, module.forward)))
            yield
        if examples:
            self._check_moved(moved)

    def _is_product(self, module: nn.Module, own: list[nn.Parameter]) -> bool:
        """Whether to move the outputs of `module` is to move its `own` parameters."""
        if not isinstance(module, PRODUCTS) or getattr(module, "groups", 1) > 1 or not module.weight.is_contiguous():
            return False
        streams = [self._perturbation.streams[parameter] for parameter in own if parameter is module.weight]
        return all(isinstance(stream, FactoredStream) for stream in streams)

    def _move(
        self,
        module: nn.Module,
        own: list[nn.Parameter],
        inputs: torch.Tensor,
        outputs: torch.Tensor,
        scale: float,
        counter: int,
    ) -> None:
        """Add what the direction of the weights of a product, and of its bias, does to its outputs."""
        half = len(outputs) // 2
        for parameter in own:
            stream = self._perturbation.streams[parameter]
            if isinstance(stream, FactoredStream):
                for inner, outer in products(module, inputs, stream.factors(counter)):
                    inner, outer = inner.to(outputs.dtype), outer.to(outputs.dtype)
                    outputs[:half].addcmul_(inner[:half], outer, value=scale)
                    outputs[half:].addcmul_(inner[half:], outer, value=-scale)
            else:
                bias = along_channels(module, torch.cat(list(stream.draws(counter)))).to(outputs.dtype)
                outputs[:half].add_(bias, alpha=scale)
                outputs[half:].add_(bias, alpha=-scale)


def products(module: nn.Module, inputs: torch.Tensor, factors: Factors) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What, multiplied with one another and summed, is what `module` would answer if its weights were the product of
    `factors`: for each rank a number for each place of the outputs, and one for each channel."""
    left, right = factors
    if isinstance(module, nn.Embedding):
        numbers = left.t()[inputs]  # (…, r)
        yield from ((numbers[..., k, None], right[k]) for k in range(len(right)))
    elif isinstance(module, CONVOLUTIONS):
        kernels = right.view(-1, *module.weight.shape[1:]).to(inputs.dtype)
        numbers = module._conv_forward(inputs, kernels, None)  # (2b, r, …)
        yield from ((numbers[:, k : k + 1], along_channels(module, left[k])) for k in range(len(left)))
    else:
        numbers = inputs @ right.t().to(inputs.dtype)  # (…, r)
        yield from ((numbers[..., k, None], left[k]) for k in range(len(left)))


def along_channels(module: nn.Module, numbers: torch.Tensor) -> torch.Tensor:
    """One number for each channel of the outputs of `module`, in a shape that goes with theirs."""
    return numbers.view(-1, *[1] * (module.weight.dim() - 2)) if isinstance(module, CONVOLUTIONS) else numbers


def of_all_examples(module: nn.Module, given: tuple[Any, ...], examples: int) -> torch.Tensor:
    """The first of what `module` is `given`, with the `examples` along its first axis: what they share, such as
    positions, is repeated for each."""
    inputs = given[0] if given else None
    if isinstance(inputs, torch.Tensor) and inputs.dim():
        if len(inputs) == 1:
            return inputs.expand(examples, *inputs.shape[1:])
        if len(inputs) % examples == 0:
            return inputs
    raise ValueError(f"probed=activations but a {type(module).__name__} is not given example after example; {REMEDY}")


@contextmanager
def answering(module: nn.Module, forward: Callable[..., Any]) -> Generator[None]:
    """Inside, `module` answers by `forward`."""
    before = module.__dict__.get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if before is not None:
            module.forward = before
