"""Bytes of training a decoder-only transformer, in closed form: no weights, no framework, no data.

What a block keeps for backpropagation is listed tensor by tensor, as Korthikanti et al. (2022, arXiv 2205.05198,
eq. 2) count it. Errors, which live for one operation, and workspaces inside operators are not counted.
Shapes: s positions, b sequences; a block's tensors are counted in elements per position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from tightfit.memory.breakdown import Breakdown

Checkpointing = Literal["none", "every_layer", "sqrt", "selective"]
LOGIT_BYTES = 4  # the loss is taken in single precision whatever the activations are
STATISTIC_BYTES = 4  # so are the two numbers a row that fused attention keeps


@dataclass(frozen=True)
class Transformer:
    """A network in plain numbers. gpt2: biases, learned positions, GELU; llama: neither, RMS norm, gated SiLU."""

    name: str
    block: Literal["gpt2", "llama"]
    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int
    key_value_heads: int | None = None  # None: as many as heads
    positions: int = 0  # rows of the learned position table
    tied_head: bool = False
    qkv_bias: bool = False  # of llama blocks: Qwen2 has biases in the query, key and value projections alone

    def __post_init__(self) -> None:
        if self.block not in ("gpt2", "llama"):
            raise ValueError(f"block={self.block!r} is not counted; choose gpt2 or llama")
        for name in ("layers", "width", "heads", "feed_forward", "vocabulary"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} but {self.name} needs at least one; choose 1 or more")
        if self.key_value_heads is not None and not 1 <= self.key_value_heads <= self.heads:
            raise ValueError(
                f"key_value_heads={self.key_value_heads} but {self.name} has {self.heads} heads; choose 1–{self.heads}"
            )
        for name, parts, whole in (("heads", self.heads, "width"), ("key_value_heads", self.key_value_heads, "heads")):
            if parts and getattr(self, whole) % parts:
                raise ValueError(f"{name}={parts} does not divide {whole}={getattr(self, whole)} of {self.name}")
        if self.positions < 0:
            raise ValueError(f"positions={self.positions} is no number of rows; choose 0 (no such table) or more")

    @property
    def key_value_width(self) -> int:
        return self.width * (self.key_value_heads or self.heads) // self.heads

    @property
    def block_parameters(self) -> int:
        attention = 2 * self.width * (self.width + self.key_value_width)
        if self.block == "llama":
            biases = self.width + 2 * self.key_value_width if self.qkv_bias else 0
            return attention + 3 * self.width * self.feed_forward + biases + 2 * self.width
        biases = 2 * self.width + 2 * self.key_value_width + self.feed_forward + self.width
        return attention + 2 * self.width * self.feed_forward + biases + 4 * self.width

    @property
    def parameters(self) -> int:
        tables = self.vocabulary * (1 if self.tied_head else 2) + self.positions
        final_norm = self.width * (2 if self.block == "gpt2" else 1)
        return tables * self.width + self.layers * self.block_parameters + final_norm


@dataclass(frozen=True)
class Assumptions:
    """What a memory figure rests on.

    rho: share of the layers whose activations co-exist in a pass that keeps nothing for a backward.
    checkpointing: what backpropagation keeps; the rest is computed again, one layer (or segment) at a time.
    dropout: counted as Korthikanti does, masks at one byte. fused_attention: no s × s matrix is ever held.
    logits: for every position, for the answer's alone, or not counted.
    *_bytes: per number; state_bytes for all optimizer states of a parameter together, a master copy included.
    """

    rho: float
    checkpointing: Checkpointing = "none"
    dropout: bool = False
    fused_attention: bool = False
    logits: Literal["all", "answer", "none"] = "all"
    weight_bytes: float = 2
    gradient_bytes: float = 2
    state_bytes: float = 12
    activation_bytes: float = 2

    def __post_init__(self) -> None:
        if not 0 < self.rho <= 1:
            raise ValueError(f"rho={self.rho} is not a share of the layers; choose more than 0 and at most 1")
        for name in ("weight_bytes", "gradient_bytes", "state_bytes", "activation_bytes"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} is no size of a number; choose 0 or more")
        if self.logits not in ("all", "answer", "none"):
            raise ValueError(f"logits={self.logits!r} are of no position; choose all, answer or none")
        if self.checkpointing not in ("none", "every_layer", "sqrt", "selective"):
            raise ValueError(
                f"checkpointing={self.checkpointing!r} is no policy; choose none, every_layer, sqrt or selective"
            )


def core_bytes(model: Transformer, s: int, b: int, a: Assumptions) -> float:
    """Bytes of one block's attention core: the s × s matrices, or the row statistics of a fused kernel."""
    if a.fused_attention:
        return 2 * STATISTIC_BYTES * model.heads * s * b
    # softmax, and under dropout its mask and what it leaves
    return model.heads * s * s * b * (a.activation_bytes * (2 if a.dropout else 1) + a.dropout)


def block_bytes(model: Transformer, s: int, b: int, a: Assumptions) -> float:
    """Bytes that one block keeps for backpropagation. Source: Korthikanti et al., eq. 2."""
    h, f = model.width, model.feed_forward
    norms = 4 * h  # input and output of two; the outputs are the inputs of the products that follow
    attention = 2 * h + 2 * model.key_value_width  # query, attention's output; key, value
    feed_forward = (4 if model.block == "llama" else 2) * f  # gate, silu(gate), up, product; or before and after GELU
    masks = 2 * h if a.dropout else 0  # one byte an element
    per_position = a.activation_bytes * (norms + attention + feed_forward) + masks
    return s * b * per_position + core_bytes(model, s, b, a)


def stored_bytes(model: Transformer, s: int, b: int, a: Assumptions) -> float:
    """Bytes of all blocks' activations at the start of the backward pass, with the part computed again beside them."""
    layers, block = model.layers, block_bytes(model, s, b, a)
    border = a.activation_bytes * s * b * model.width
    if a.checkpointing == "none":
        return layers * block
    if a.checkpointing == "every_layer":
        return layers * border + block
    if a.checkpointing == "selective":
        core = core_bytes(model, s, b, a)
        return layers * (block - core) + core
    return min(math.ceil(layers / segment) * border + segment * block for segment in range(1, layers + 1))


def logit_bytes(model: Transformer, s: int, b: int, a: Assumptions) -> float:
    """Bytes of the logits of the positions that are scored."""
    scored = {"all": s, "answer": 1, "none": 0}[a.logits]
    return LOGIT_BYTES * scored * b * model.vocabulary


def backpropagation(model: Transformer, s: int, b: int, a: Assumptions) -> Breakdown:
    """What training by backpropagation holds; `state_bytes` says by which optimizer."""
    check_batch(model, s, b)
    return Breakdown(
        parameters=round(a.weight_bytes * model.parameters),
        gradients=round(a.gradient_bytes * model.parameters),
        optimizer_state=round(a.state_bytes * model.parameters),
        activations=round(stored_bytes(model, s, b, a) + logit_bytes(model, s, b, a)),
    )


def zeroth_order(model: Transformer, s: int, b: int, a: Assumptions) -> Breakdown:
    """What training by forward passes holds, which is what inference does: rho of the layers' activations."""
    check_batch(model, s, b)
    return Breakdown(
        parameters=round(a.weight_bytes * model.parameters),
        activations=round(a.rho * model.layers * block_bytes(model, s, b, a) + logit_bytes(model, s, b, a)),
    )


def hybrid(model: Transformer, s: int, b: int, a: Assumptions, bp_layers: int) -> Breakdown:
    """What ElasticZO holds: the last `bp_layers` blocks as backpropagation holds them, the rest as forward passes do.

    Raises ValueError when the model has fewer blocks.
    """
    check_batch(model, s, b)
    if not 0 <= bp_layers <= model.layers:
        raise ValueError(f"bp_layers={bp_layers} but {model.name} has {model.layers} blocks; choose 0–{model.layers}")
    trained = bp_layers * model.block_parameters
    kept = stored_bytes(replace(model, layers=bp_layers), s, b, a) if bp_layers else 0
    passing = a.rho * (model.layers - bp_layers) * block_bytes(model, s, b, a)
    return Breakdown(
        parameters=round(a.weight_bytes * model.parameters),
        gradients=round(a.gradient_bytes * trained),
        optimizer_state=round(a.state_bytes * trained),
        activations=round(passing + kept + logit_bytes(model, s, b, a)),
    )


def low_rank(model: Transformer, s: int, b: int, a: Assumptions, rank: int) -> Breakdown:
    """What backpropagation holds when only updates of rank `rank` of the query and value projections are trained.

    An upper bound: a frozen product is counted as if it kept its input, which it need not.
    """
    check_batch(model, s, b)
    if rank < 1:
        raise ValueError(f"rank={rank} but a low-rank update has at least one column; choose 1 or more")
    trained = model.layers * rank * (3 * model.width + model.key_value_width)
    between = a.activation_bytes * s * b * model.layers * 2 * rank  # between the two factors of each update
    return Breakdown(
        parameters=round(a.weight_bytes * (model.parameters + trained)),
        gradients=round(a.gradient_bytes * trained),
        optimizer_state=round(a.state_bytes * trained),
        activations=round(stored_bytes(model, s, b, a) + between + logit_bytes(model, s, b, a)),
    )


def forward_flops(model: Transformer, s: int, b: int, a: Assumptions) -> float:
    """Operations of one forward pass: two a weight and position in products, and the attention core (not halved for
    causality); the head for the positions that are scored."""
    scored = {"all": s, "answer": 1, "none": 0}[a.logits]
    return b * (s * model.layers * 2 * model.block_parameters + scored * 2 * model.width * model.vocabulary) + (
        core_flops(model, s, b)
    )


def core_flops(model: Transformer, s: int, b: int) -> float:
    """Operations of all attention cores in one forward pass: scores, and the sum of values that they weigh."""
    return 4 * b * s * s * model.width * model.layers


def check_batch(model: Transformer, s: int, b: int) -> None:
    """Raise ValueError unless `b` sequences of `s` positions can be given to `model`."""
    if b < 1:
        raise ValueError(f"batch_size={b} but a step needs at least one sequence; choose 1 or more")
    if s < 1:
        raise ValueError(f"sequence_length={s} but a sequence has at least one position; choose 1 or more")
    if model.positions and s > model.positions:
        raise ValueError(
            f"sequence_length={s} but {model.name} has {model.positions} positions; choose 1–{model.positions}"
        )
