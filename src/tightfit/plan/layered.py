"""Networks counted operation by operation, for a plan, by a pass on the meta device: the paper's convention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tightfit.memory.breakdown import Breakdown
from tightfit.memory.table import LayerTable, layer_table
from tightfit.optimizers.base import Optimizer
from tightfit.plan.subject import Subject


def layered_subject(
    name: str, model: Mapping[str, Any], build: Mapping[str, Any], optimizer: str, method: Mapping[str, Any]
) -> Subject:
    """The network that `build`, an option of conf/model/, makes, by the optimizer that `method["run"]` makes.

    Raises ValueError for more BP layers than the network has, and for fewer classes than one.
    """
    if model["classes"] < 1:
        raise ValueError(f"model.classes={model['classes']} but {name} tells at least one; choose 1 or more")
    network: nn.Module = instantiate({"_target_": build["_target_"]}, classes=model["classes"], seed=0)
    shape = tuple(model["example_shape"])
    table = layer_table(network, shape)
    trains: Optimizer = instantiate(method["run"])
    bp_layers = {"backpropagation": table.weight_layers, "zeroth_order": 0}.get(method["kind"], method.get("bp_layers"))
    share = backward_share(network, shape, table, bp_layers)
    computes_again = method["assumptions"].get("checkpointing", "none") != "none"
    forward_passes = 1 if method["kind"] == "backpropagation" and not computes_again else 2

    def memory(s: int, b: int) -> Breakdown:
        if b < 1:
            raise ValueError(f"batch_size={b} but a step needs at least one example; choose 1 or more")
        return trains.memory(table, b)

    return Subject(
        model=name,
        optimizer=optimizer,
        parameters=sum(row.parameters for row in table.rows),
        memory=memory,
        forward_equivalents=lambda s, b: forward_passes + 2 * share,
        sweeps=0 if method["kind"] == "backpropagation" else 3,
    )


def backward_share(network: nn.Module, shape: tuple[int, ...], table: LayerTable, bp_layers: int) -> float:
    """Share of the forward pass's operations that is in the last `bp_layers` layers with weights."""
    probe = network.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        probe(torch.empty((2, *shape), device="meta"))
    counts = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    last = [f"{table.model}.{row.name}" for row in table.last(bp_layers)]
    return sum(counts.get(name, 0) for name in last) / counts["Global"]
