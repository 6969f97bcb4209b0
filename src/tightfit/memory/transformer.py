"""The layer table of a transformer from plain numbers: no weights, no framework, no data.

The rows hold what a block keeps for backpropagation, tensor by tensor, as Korthikanti et al. (2022, arXiv 2205.05198,
eq. 2) count it: what the embedding and the last normalisation make is left out, and so are workspaces inside operators.
A projection back to the residual stream is added to it in place: the sum is its output.
Shapes: s positions, b sequences.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from tightfit.memory.assumptions import Assumptions
from tightfit.memory.table import LayerRow, LayerTable

EMBEDDINGS, ANSWERS = "embeddings", "answers"  # the blocks before and after the numbered ones, as in a run
SINGLE = 4  # bytes: of a logit and of the two numbers a row that fused attention keeps, whatever the activations have
BLOCKS = ("gpt2", "llama", "bert")
SIZES = {"layers": 10**4, **dict.fromkeys(("width", "heads", "feed_forward", "vocabulary"), 10**9)}  # the most of each


@dataclass(frozen=True)
class Transformer:
    """A network in plain numbers. gpt2: biases, learned positions, GELU; llama: neither, RMS norm, gated SiLU;
    bert: as gpt2, with token types, a pooler and a new head for two answers in place of its vocabulary's."""

    name: str
    block: Literal["gpt2", "llama", "bert"]
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
        if self.block not in BLOCKS:
            raise ValueError(f"block={self.block!r} is not counted; choose {', '.join(BLOCKS)}")
        for name, most in SIZES.items():
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} but {self.name} needs at least one; choose 1 or more")
            if getattr(self, name) > most:
                raise ValueError(f"{name}={getattr(self, name)} is beyond any model; choose {most:,} or less")
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


def transformer_table(model: Transformer, s: int, a: Assumptions) -> LayerTable:
    """The operations of `model` on sequences of `s` positions. Raises ValueError for a length it cannot take."""
    if s < 1:
        raise ValueError(f"sequence_length={s} but a sequence has at least one position; choose 1 or more")
    if model.positions and s > model.positions:
        raise ValueError(
            f"sequence_length={s} but {model.name} has {model.positions} positions; choose 1–{model.positions}"
        )
    block = block_rows(model, s, a)
    repeated = (
        replace(row, name=f"layers.{place}.{row.name}", block=f"layers.{place}")
        for place in range(model.layers)
        for row in block
    )
    return LayerTable(model.name, (embeddings(model, a), *repeated, *answers(model, s, a)))


def embeddings(model: Transformer, a: Assumptions) -> LayerRow:
    types_and_norm = 4 if model.block == "bert" else 0
    tables = ((model.vocabulary + model.positions + types_and_norm, model.width),)
    return weights("embed_tokens", "Embedding", tables, a, block=EMBEDDINGS)


def answers(model: Transformer, s: int, a: Assumptions) -> list[LayerRow]:
    """What follows the last block: a normalisation (of bert a pooler, which nothing reads), the head, the logits."""
    h, is_encoder = model.width, model.block == "bert"
    said = 2 if is_encoder else model.vocabulary
    scored = {"all": 1 if is_encoder else s, "answer": 1, "none": 0}[a.logits]
    before = {"llama": ((h,),), "gpt2": ((h,), (h,)), "bert": ((h, h), (h,))}[model.block]
    of_head = ((said, h), (said,)) if is_encoder else () if model.tied_head else ((said, h),)
    head = weights("lm_head", "Linear", of_head, a, block=ANSWERS)
    return [
        replace(weights("norm", "Norm", before, a, block=ANSWERS), inputs=s * h),
        # The products of a tied head are with weights of another row: a backward pass owes these a gradient too.
        replace(head, operations=2 * scored * h * said, operands=1 if of_head else 2),
        LayerRow("logits", "Logits", 0, scored * said, SINGLE, block=ANSWERS),
    ]


def block_rows(model: Transformer, s: int, a: Assumptions) -> list[LayerRow]:
    """One block's operations, with what it keeps. Source: Korthikanti et al., eq. 2."""
    h, kv = model.width, model.key_value_width
    has_biases = model.block != "llama"
    norm = replace(weights("norm", "Norm", ((h,), (h,)) if has_biases else ((h,),), a), inputs=s * h, outputs=s * h)
    masks = [LayerRow("mask", "Dropout", 0, s * h, 1)] if a.dropout else []
    return [
        replace(norm, name="input_norm"),
        linear("q_proj", h, h, s, a, has_biases or model.qkv_bias),
        linear("k_proj", h, kv, s, a, has_biases or model.qkv_bias),
        linear("v_proj", h, kv, s, a, has_biases or model.qkv_bias),
        *attention_rows(model, s, a),
        linear("o_proj", h, h, s, a, has_biases),
        *masks,
        replace(norm, name="middle_norm"),
        *feed_forward_rows(model, s, a),
        *masks,
    ]


def attention_rows(model: Transformer, s: int, a: Assumptions) -> list[LayerRow]:
    """The attention core: the s × s matrices, or the row statistics of a fused kernel, and the weighted sum of values.

    Its products are of two activations each, in twice 2 · s · s · width operations, not halved for causality.
    """
    size, work = model.heads * s * s, 4 * s * s * model.width
    if a.fused_attention:
        core = [LayerRow("attention", "Attention", 0, 2 * model.heads * s, SINGLE)]
    else:
        core = [LayerRow("attention", "Attention", 0, size, a.activation_bytes)]
        if a.dropout:
            core += [LayerRow("attention_mask", "Dropout", 0, size, 1)]
            core += [LayerRow("attention_dropped", "Dropout", 0, size, a.activation_bytes)]
    context = LayerRow("context", "Attention", 0, s * model.width, a.activation_bytes)
    return [replace(core[0], operations=work, operands=2), *core[1:], context]


def feed_forward_rows(model: Transformer, s: int, a: Assumptions) -> list[LayerRow]:
    h, f = model.width, model.feed_forward
    if model.block == "llama":
        made = [LayerRow(name, "Elementwise", 0, s * f, a.activation_bytes) for name in ("silu", "product")]
        return [
            linear("gate_proj", h, f, s, a),
            linear("up_proj", h, f, s, a),
            *made,
            linear("down_proj", f, h, s, a),
        ]
    gelu = LayerRow("gelu", "Elementwise", 0, s * f, a.activation_bytes)
    return [linear("up_proj", h, f, s, a, bias=True), gelu, linear("down_proj", f, h, s, a, bias=True)]


def weights(name: str, kind: str, shapes: tuple[tuple[int, ...], ...], a: Assumptions, block: str = "") -> LayerRow:
    """A row of tensors of `shapes`, which is not said to make anything."""
    count = sum(map(math.prod, shapes))
    return LayerRow(name, kind, count, 0, a.activation_bytes, shapes=shapes, block=block)


def linear(name: str, inside: int, outside: int, s: int, a: Assumptions, bias: bool = False) -> LayerRow:
    return replace(
        weights(name, "Linear", ((outside, inside), (outside,)) if bias else ((outside, inside),), a),
        inputs=s * inside,
        outputs=s * outside,
        features=(inside, outside),
        operations=2 * s * inside * outside,
    )


class Beside(Protocol):
    """Small trained parts beside linear layers."""

    @property
    def targets(self) -> str | None:
        """A regular expression that finds something in the names of their layers; none for all."""
        ...

    @property
    def kept_kinds(self) -> tuple[str, ...]:
        """Kinds of rows that are trained as before."""
        ...

    def rows(self, row: LayerRow) -> list[LayerRow]:
        """Those beside the linear layer `row`."""
        ...


@dataclass(frozen=True)
class LowRank:
    """Updates of rank `rank` beside the linear layers whose names `targets`, a regular expression, finds something in.

    kind: of their rows. first_frozen: the first factor is never trained, and the second is held in single precision.
    """

    rank: int
    targets: str
    kind: str = "Linear"
    first_frozen: bool = False

    kept_kinds = ()

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank={self.rank} but a low-rank update has at least one column; choose 1 or more")

    def rows(self, row: LayerRow) -> list[LayerRow]:
        """The two factors beside the linear layer `row`; what the second makes is added to what that layer makes."""
        inside, outside = row.features
        first = self.factor(f"{row.name}.A", row, (self.rank, inside))
        first = replace(first, inputs=row.inputs, outputs=self.rank * row.outputs // outside)
        second = replace(self.factor(f"{row.name}.B", row, (outside, self.rank)), inputs=first.outputs)
        if not self.first_frozen:
            return [first, second]
        exact = max(SINGLE, row.bytes_per_element)
        return [replace(first, frozen=first.parameters, shapes=()), replace(second, bytes_per_element=exact)]

    def factor(self, name: str, row: LayerRow, shape: tuple[int, int]) -> LayerRow:
        count, positions = math.prod(shape), row.outputs // row.features[1]
        size, work = row.bytes_per_element, 2 * positions * count
        return LayerRow(name, self.kind, count, 0, size, shapes=(shape,), operations=work, block=row.block)


def with_updates(table: LayerTable, updates: Beside) -> LayerTable:
    """`table` with frozen weights and `updates`. Raises ValueError when no layer gets one.

    An upper bound: a frozen product is counted as if it kept its input, which it need not.
    """
    linear = [row.name for row in table.rows if row.features[0]]
    chosen = {name for name in linear if re.search(updates.targets or "", name)}
    if not chosen:
        names = dict.fromkeys(name.rpartition(".")[2] for name in linear)
        raise ValueError(f"targets={updates.targets} finds no layer of {table.model}; choose from {', '.join(names)}")
    rows: list[LayerRow] = []
    for row in table.rows:
        if row.kind in updates.kept_kinds:
            rows.append(row)
            continue
        frozen = replace(row, frozen=row.parameters, shapes=())
        rows.append(replace(frozen, operands=1) if row.kind == "Linear" else frozen)
        rows += updates.rows(row) if row.name in chosen else []
    return LayerTable(table.model, tuple(rows))
