"""A classifier of sequences made of linear recurrent units (Orvieto et al., 2023), and of images read as sequences.

A unit is x_k = λ ⊙ x_{k−1} + γ ⊙ B u_k, y_k = Re(C x_k) + D ⊙ u_k with complex states x; λ = exp(−e^ν + iθ) is
always stable, and γ = √(1 − |λ|²) keeps states of all λ of one size. In a layer it stands between a batch normalisation
without weights and a gated linear unit, with the layer's input added to its output. So it is in CompreSSM (Chahine et
al., 2025), but for three things: dropout is left out, the gates are one layer, and θ is the phase itself, not its
logarithm, since a real λ has phase 0.

A layer takes any number of states: it is loaded with as many as what it is given was saved with.

Shapes: b images, t steps, h features, n states.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Literal, cast, get_args

import torch
from torch import nn
from torch.nn import functional as F

from tightfit.memory.table import LayerRow
from tightfit.models.base import Traits
from tightfit.models.pointnet import PointNorm
from tightfit.numerics.balanced import System
from tightfit.numerics.recurrence import as_complex, in_pairs, states_of
from tightfit.numerics.seeds import derive

Reading = Literal["rows", "pooled"]
SLOWEST, FASTEST = 0.999, 0.9  # |λ| of fresh units
LARGEST = 1 - 1e-6  # |λ| of units taken from a system: in float32 not yet 1
SMALLEST = 1e-6


class Rows(nn.Module):
    """Images (b, 1, 28, 28) as 28 steps of 28 features: a row of pixels is a step."""

    features = 28

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.transpose(1, 2).flatten(2)


class Pooled(nn.Module):
    """Images (b, 1, 28, 28) as 49 steps of one feature: the means of 4×4 pixels in reading order."""

    features = 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(images, 4).flatten(1).unsqueeze(2)


class MeanOverSteps(nn.Module):
    """(b, t, h) to (b, h)."""

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        return steps.mean(dim=1)


class LRU(nn.Module):
    """A linear recurrent unit, (b, t, h) to (b, t, h).

    B and C lie as pairs of real numbers: of a state the real part, then the imaginary one, of C its negative.
    """

    def __init__(self, features: int, states: int) -> None:
        super().__init__()
        size = (FASTEST**2 + torch.rand(states) * (SLOWEST**2 - FASTEST**2)).sqrt()  # |λ|² is uniform
        self.nu = nn.Parameter((-size.log()).log())
        self.theta = nn.Parameter(torch.rand(states) * 2 * math.pi)
        self.B = nn.Parameter(torch.randn(2 * states, features) / math.sqrt(2 * features))
        self.C = nn.Parameter(torch.randn(features, 2 * states) / math.sqrt(states))
        self.D = nn.Parameter(torch.randn(features))

    @property
    def states(self) -> int:
        return len(self.nu)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        decay = self.nu.exp()  # −log |λ|
        gamma = (-torch.expm1(-2 * decay)).sqrt()
        states = states_of(
            inputs, self.B * gamma.repeat_interleave(2)[:, None], torch.polar((-decay).exp(), self.theta)
        )
        return F.linear(states, self.C).addcmul_(inputs, self.D)

    @torch.no_grad()
    def system(self) -> System:
        """What the unit computes from u to C x, in complex128 on the host."""
        nu, theta, B, C = (part.detach().to("cpu", torch.float64) for part in (self.nu, self.theta, self.B, self.C))
        size = (-nu.exp()).exp()
        gamma = (1 - size**2).sqrt()
        return System(
            torch.polar(size, theta),
            as_complex(B.T.contiguous()).T * gamma[:, None],
            as_complex(C).conj().resolve_conj(),
        )

    @torch.no_grad()
    def take_(self, system: System) -> None:
        """From now on the unit computes `system`, with as many states as that has."""
        self.resize_(len(system.transition))
        size = system.transition.abs().clamp(SMALLEST, LARGEST)
        self.nu.copy_((-size.log()).log())
        self.theta.copy_(system.transition.angle())
        self.B.copy_(in_pairs(system.drive / (1 - size**2).sqrt()[:, None]))
        self.C.copy_(in_pairs(system.readout.conj().T).T)

    def resize_(self, states: int) -> None:
        """Have new parameters for `states` states, of no values yet."""
        features = len(self.D)
        shapes = {"nu": (states,), "theta": (states,), "B": (2 * states, features), "C": (features, 2 * states)}
        for name, shape in shapes.items():
            old = getattr(self, name)
            setattr(self, name, nn.Parameter(old.detach().new_empty(shape), old.requires_grad))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: Any,
        unexpected_keys: Any,
        error_msgs: Any,
    ) -> None:
        """As PyTorch's, after the unit has as many states as were saved."""
        saved = state_dict.get(f"{prefix}nu")
        if saved is not None and saved.dim() == 1 and len(saved) != self.states:
            self.resize_(len(saved))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def own_rows(self, name: str, block: str, positions: int) -> list[LayerRow]:
        """The states, written over what drives them, and what is read from them. See `memory.table.HasRows`."""
        t, n, h = positions, self.states, len(self.D)
        driven = [self.nu, self.theta, self.B], 2 * t * n, 4 * t * n * h + 8 * t * n
        read = [self.C, self.D], t * h, 4 * t * n * h + 2 * t * h
        rows = []
        for part, (parameters, outputs, operations) in {"states": driven, "outputs": read}.items():
            trained = [parameter for parameter in parameters if parameter.requires_grad]
            count = sum(parameter.numel() for parameter in parameters)
            rows.append(
                LayerRow(
                    name=f"{name}.{part}",
                    kind=type(self).__name__,
                    parameters=count,
                    outputs=outputs,
                    bytes_per_element=self.B.element_size(),
                    inputs=2 * t * n if part == "outputs" else t * h,
                    frozen=count - sum(parameter.numel() for parameter in trained),
                    shapes=tuple(tuple(parameter.shape) for parameter in trained),
                    operations=operations,
                    block=block,
                )
            )
        return rows


class RecurrentLayer(nn.Module):
    """A unit with what is around it, (b, t, h) to (b, t, h)."""

    def __init__(self, features: int, states: int) -> None:
        super().__init__()
        self.norm = PointNorm(features, affine=False)
        self.lru = LRU(features, states)
        self.gelu = nn.GELU()
        self.gates = nn.Linear(features, 2 * features)
        self.glu = nn.GLU()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.glu(self.gates(self.gelu(self.lru(self.norm(inputs))))).add_(inputs)


def of_its_layer(model: nn.Module) -> dict[str, str]:
    """A layer with all that is in it is a block."""
    return {name: name.partition(".")[0] for name, _ in model.named_modules()}


class LRUClassifier(nn.Sequential):
    """Images (b, 1, 28, 28) to logits (b, classes)."""

    traits = Traits(blocks=of_its_layer)

    def __init__(self, classes: int, states: int, features: int, layers: int, reading: Reading) -> None:
        read = {"rows": Rows, "pooled": Pooled}[reading]()
        parts: OrderedDict[str, nn.Module] = OrderedDict(read=read, encoder=nn.Linear(read.features, features))
        for place in range(1, layers + 1):
            parts[f"layer{place}"] = RecurrentLayer(features, states)
        super().__init__(parts | OrderedDict(mean=MeanOverSteps(), head=nn.Linear(features, classes)))


def lru(
    classes: int, seed: int, states: int = 64, features: int = 16, layers: int = 1, reading: str = "rows"
) -> LRUClassifier:
    """A freshly initialised network; the same weights for the same seed whatever ran before.

    states: of each layer, n; features: h; reading: a step is a row of pixels (28 steps) or the mean of 4×4 (49 steps).
    Raises ValueError for settings out of range.
    """
    for name, count in {"states": states, "features": features, "layers": layers}.items():
        if count < 1:
            raise ValueError(f"model.{name}={count} is no number of {name}; choose 1 or more")
    if reading not in get_args(Reading):
        raise ValueError(f"model.reading={reading} is no way to read an image; choose rows or pooled")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "initial weights"))
        return LRUClassifier(classes, states, features, layers, cast(Reading, reading))
