"""Decoder-only transformers by the closed forms, for a plan: a description in, no weights and no framework.

Shapes: s positions, b sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.transformer import (
    Assumptions,
    Transformer,
    backpropagation,
    core_flops,
    forward_flops,
    hybrid,
    low_rank,
    zeroth_order,
)
from tightfit.plan.subject import Subject

LONGEST = 2**20  # where the model itself sets no limit
SWEEPS = {"backpropagation": 0, "low_rank": 0, "zeroth_order": 3, "hybrid": 3}


def llama2(place: int) -> Transformer:
    """The member of the Llama-2 family with `place` blocks: 32 is the 7B, 40 the 13B.

    Heads of 128, as many as blocks; the feed-forward width is 8/3 of the width, rounded up to a multiple of 256.
    """
    width = 128 * place
    return Transformer(
        name=f"llama2_{place}x{width}",
        block="llama",
        layers=place,
        width=width,
        heads=place,
        feed_forward=256 * -(-8 * width // (3 * 256)),
        vocabulary=32000,
    )


def transformer_subject(model: Transformer, optimizer: str, method: Mapping[str, Any], a: Assumptions) -> Subject:
    """`model` by the method that conf/plan/optimizer/`optimizer`.yaml describes."""
    return Subject(
        model=model.name,
        optimizer=optimizer,
        parameters=model.parameters,
        memory=partial(memory, model, method, a),
        forward_equivalents=partial(forward_equivalents, model, method, a),
        forward_flops=lambda s, b: forward_flops(model, s, b, a),
        sweeps=SWEEPS[method["kind"]],
        longest=model.positions or LONGEST,
        family=lambda place: transformer_subject(llama2(place), optimizer, within(method, place), a),
    )


def within(method: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """`method` for a model of so many blocks: it cannot train more of them."""
    return {name: min(value, blocks) if name == "bp_layers" else value for name, value in method.items()}


def memory(model: Transformer, method: Mapping[str, Any], a: Assumptions, s: int, b: int) -> Breakdown:
    match method["kind"]:
        case "backpropagation":
            return backpropagation(model, s, b, a)
        case "low_rank":
            return low_rank(model, s, b, a, method["rank"])
        case "hybrid":
            return hybrid(model, s, b, a, method["bp_layers"])
    return zeroth_order(model, s, b, a)


def forward_equivalents(model: Transformer, method: Mapping[str, Any], a: Assumptions, s: int, b: int) -> float:
    """Work of a step in forward passes: a backward pass is two, one for the errors and one for the gradients."""
    whole = forward_flops(model, s, b, a)
    recomputed = {"none": 0.0, "selective": core_flops(model, s, b) / whole}.get(a.checkpointing, 1.0)
    match method["kind"]:
        case "backpropagation":
            return 3 + recomputed
        case "low_rank":
            return 2 + recomputed  # gradients of the updates alone are next to nothing
        case "hybrid":
            blocks = forward_flops(model, s, b, replace(a, logits="none"))
            share = blocks * method["bp_layers"] / model.layers / whole
            return 2 + share * (2 + recomputed)
    return 2
