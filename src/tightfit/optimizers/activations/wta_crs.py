"""WTA-CRS: gradients of weights from a few sampled rows of activations (Liu et al., 2023, arXiv 2305.15265).

A linear layer y = x Wᵀ answers exactly and passes its errors back exactly. Of its T rows of inputs k are kept, and
dW = Σ_i dy_i x_iᵀ is estimated from them without bias: the rows of largest probability are all taken (the winners), and
the rest is drawn from the other rows, each weighed by the inverse of its probability. So many winners are taken as make
the variance least.

Source: the paper, and the public code (zirui-ray-liu/WTACRS, approxlinear/functional.py). Where we differ, and why:
- The published probabilities are ‖x_i‖ · ‖dy_i‖ with the errors of this example's last visit, from a table of norms
  for the whole data set beside the training: `norms="cached"`, here counted as a state. `norms="inputs"`, the default,
  takes ‖x_i‖ alone, needs no table and is unbiased too; where errors are of few rows, as where one token answers, its
  variance is larger.
- The public code does not divide by the probability while an example has no norm, leaves out the tail when winners hold
  0.999 of it, and has a setting that mixes draws: each of these is biased, and none is here.
- The published setting samples the projections after attention and those of the feed-forward part, and the products
  of attention. Here it is every linear layer whose weights are trained, or those that `targets` chooses by name; layers
  that read the same numbers (query, key, value) share their rows.

Sizes depend on no data, so a step can be rehearsed. Where k is not less than T, all is as ever. An input that another
operator keeps (ReLU its result, attention its own) is not freed by this.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerRow, LayerTable, input_bytes
from tightfit.numerics.seeds import derive, permute32
from tightfit.optimizers.activations.activations import Keeper
from tightfit.optimizers.activations.checkpointed import recomputing
from tightfit.optimizers.activations.sampled_rows import Rows, norms_of, sampled
from tightfit.optimizers.activations.while_alive import WhileAlive
from tightfit.optimizers.base import Batch
from tightfit.optimizers.phases import Phases
from tightfit.optimizers.schedules import check_each

INDEX_BYTES = 8  # of a row that is kept
NORM = torch.bfloat16
KEPT_BY_ITSELF = ("Linear", "ReLU", "Tanh", "Sigmoid", "Softmax", "Attention")  # what such a row makes
Learn = Callable[[torch.Tensor], None]  # from the errors of a layer, (t, out)


@dataclass(frozen=True)
class WTACRS:
    """share: of the rows of a layer, those that are kept, but at least `least`. norms: what probabilities are made of.

    examples: whose norms are cached; example i has the place i modulo it, and a norm of another example makes for more
    variance, no bias. targets: a regular expression for the names of the layers; None: all whose weights are trained.
    """

    share: float = 0.3
    least: int = 10
    norms: Literal["inputs", "cached"] = "inputs"
    examples: int = 4096
    targets: str | None = None

    kind = "wta_crs"
    forward_passes = 1

    def __post_init__(self) -> None:
        check_each("activations.share", self.share, lambda share: 0 < share <= 1, "more than 0 and at most 1")
        for name in ("least", "examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"activations.{name}={getattr(self, name)} is less than one; choose 1 or more")
        if self.norms not in ("inputs", "cached"):
            raise ValueError(f"activations.norms={self.norms!r} is not known; choose inputs or cached")
        try:
            re.compile(self.targets or "")
        except re.error as error:
            raise ValueError(
                f"activations.targets={self.targets!r} is no regular expression ({error}); write one, or null for all"
            ) from error

    def kept_rows(self, rows: int) -> int:
        """How many of the rows of a layer are kept."""
        return min(rows, max(self.least, round(self.share * rows)))

    def memory(self, kept: Breakdown, table: LayerTable, batch_size: int) -> Breakdown:
        """Sampled rows in place of each input that no other operator keeps, and beside it where one does.

        An upper bound: that nothing else keeps an input is believed where the table shows it. Raises ValueError for a
        table without linear layers that are trained.
        """
        sampled = [row for row in table.rows if self._samples(row)]
        if not sampled:
            raise self._none_found(table.model)
        changed, before = 0, None
        for _, group in groupby(table.rows, key=lambda row: row.kind == "Linear" and row.inputs):
            readers = list(group)
            samples = next(filter(self._samples, readers), None)
            few = self._rows_bytes(samples, batch_size) if samples else 0
            if samples and few:
                changed += few - (input_bytes(samples, batch_size) if is_freed(before, samples) else 0)
            before = readers[-1]
        norms = sum(positions(row) for row in sampled) * self.examples * NORM.itemsize if self.norms == "cached" else 0
        return replace(kept, activations=kept.activations + changed, optimizer_state=kept.optimizer_state + norms)

    def _samples(self, row: LayerRow) -> bool:
        return row.kind == "Linear" and weight_shape(row) is not None and bool(re.search(self.targets or "", row.name))

    def _rows_bytes(self, row: LayerRow, batch_size: int) -> int:
        """Of what is kept of the inputs of `row`; nothing where that is all of them."""
        rows = positions(row) * batch_size
        few, (_, inside) = self.kept_rows(rows), weight_shape(row) or (0, 0)
        return few * (inside * row.bytes_per_element + INDEX_BYTES) if few < rows else 0

    def _none_found(self, model: str) -> ValueError:
        called = f" called {self.targets!r}" if self.targets else ""
        return ValueError(
            f"activations=wta_crs samples the inputs of linear layers, but {model} trains the weights of none{called}; "
            "choose activations=kept, mesa or checkpointed"
        )

    def prepare(self, model: nn.Module, phases: Phases, seed: int) -> Keeper:
        layers = {
            name: layer
            for name, layer in model.named_modules()
            if is_sampled(layer) and layer.weight.requires_grad and re.search(self.targets or "", name)
        }
        if not layers:
            raise self._none_found(type(model).__name__)
        return Sampling(self, layers, derive(seed, "rows of activations"))


def is_sampled(layer: nn.Module) -> bool:
    """Whether `layer` is PyTorch's linear layer, or GPT-2's, whose weights lie the other way; none that widens them."""
    return type(layer) is nn.Linear or type(layer).__name__ == "Conv1D"


def weight_shape(row: LayerRow) -> tuple[int, ...] | None:
    """(out, in) of a matrix that is trained."""
    return next((shape for shape in row.shapes if len(shape) == 2), None)


def positions(row: LayerRow) -> int:
    """How many vectors of an example are multiplied with the matrix of `row`."""
    return row.operations // (2 * math.prod(weight_shape(row) or (1,)))


def is_freed(before: LayerRow | None, reader: LayerRow) -> bool:
    """Whether the inputs of `reader` are what `before` made, and nothing else keeps them."""
    return before is not None and before.outputs == reader.inputs and before.kind not in KEPT_BY_ITSELF


class Sampling:
    """Keeps sampled rows in place of the inputs of `layers`; owns the norms of their errors, if these are cached."""

    def __init__(self, wta_crs: WTACRS, layers: dict[str, Any], key: int) -> None:
        self._wta_crs, self._layers, self._key = wta_crs, layers, key
        self._norms: dict[str, torch.Tensor] = {}  # (examples, positions) of a layer

    @contextmanager
    def around(self, batch: Batch) -> Generator[None]:
        # A function of the step alone, so that a run that resumes draws as if it had not stopped.
        draws = torch.Generator(batch.inputs.device).manual_seed(permute32(batch.step, self._key))
        shared: WhileAlive[Rows] = WhileAlive()
        places = self._places(batch) if self._wta_crs.norms == "cached" else None
        with recomputing(
            {layer: partial(self._answer, name, draws, shared, places) for name, layer in self._layers.items()}
        ):
            yield

    def _places(self, batch: Batch) -> torch.Tensor:
        """Where the norms of the examples are, (b,); those of a batch that does not say which they are come first."""
        chosen = batch.examples
        if chosen is None:
            chosen = torch.arange(len(batch.inputs), device=batch.inputs.device)
        return chosen % self._wta_crs.examples

    def _answer(
        self,
        name: str,
        draws: torch.Generator,
        shared: WhileAlive[Rows],
        places: torch.Tensor | None,
        inputs: torch.Tensor,
    ) -> torch.Tensor:
        """What the layer called `name` does, with rows kept of its inputs (…, in)."""
        layer = self._layers[name]
        weight = layer.weight if isinstance(layer, nn.Linear) else layer.weight.t()
        count = inputs.numel() // inputs.shape[-1]
        kept = self._wta_crs.kept_rows(count)
        if kept >= count or not torch.is_grad_enabled():
            return F.linear(inputs, weight, layer.bias)
        if places is None:
            place = (inputs.size(), inputs.stride(), inputs.storage_offset())
            rows = shared(inputs, lambda: sampled(inputs, norms_of(inputs), kept, draws), *place)
            return SampledLinear.apply(inputs, weight, layer.bias, rows, None)
        norms = self._norms_at(name, places, count // len(places))
        rows = sampled(inputs, norms_of(inputs) * norms.flatten().float(), kept, draws)
        learn = partial(self._learn, name, places)
        return SampledLinear.apply(inputs, weight, layer.bias, rows, learn)

    def _norms_at(self, name: str, places: torch.Tensor, width: int) -> torch.Tensor:
        """Of the errors at the last visit of the examples at `places`, (b, width); 1 before the first."""
        norms = self._norms.get(name)
        known = 0 if norms is None else norms.shape[1]
        if known < width:  # the first batch, or one of longer sequences
            wider = torch.ones(self._wta_crs.examples, width, dtype=NORM, device=places.device)
            if norms is not None:
                wider[:, :known] = norms
            self._norms[name] = norms = wider
        assert norms is not None
        return norms[places, :width]

    def _learn(self, name: str, places: torch.Tensor, errors: torch.Tensor) -> None:
        norms = norms_of(errors).view(len(places), -1).to(NORM)
        width = norms.shape[1]
        # The largest where examples share a place: the same in whatever order they come.
        known = self._norms[name].index_fill_(0, places, 0)[:, :width]
        known.scatter_reduce_(0, places[:, None].expand(-1, width), norms, "amax")

    def state_dict(self) -> dict[str, Any]:
        return dict(self._norms)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        device = next(iter(self._layers.values())).weight.device
        self._norms = {name: norms.to(device, copy=True) for name, norms in state.items()}


class SampledLinear(torch.autograd.Function):
    """inputs (…, in) times weights (out, in), plus a bias; of the inputs `rows` alone are kept.

    learn: told of the errors of the outputs, where something is to be learnt from them.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, rows: Rows, learn: Learn | None
    ) -> torch.Tensor:
        ctx.save_for_backward(weight, rows.values, rows.index)
        ctx.learn = learn
        return F.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *of_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        errors, (weight, values, index) = of_outputs[0], ctx.saved_tensors
        for_inputs, _, for_bias, *_ = ctx.needs_input_grad
        flat = errors.flatten(0, -2)  # (t, out)
        if ctx.learn:
            ctx.learn(flat)
        return (
            errors @ weight if for_inputs else None,
            flat.index_select(0, index).t() @ values,
            flat.sum(0) if for_bias else None,
            None,
            None,
        )
