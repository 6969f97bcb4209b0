"""What to train of a quantized model within a budget: `tightfit choose-update memory_budget=… dataset.held_out=…`.

The contribution of a part is what training it alone gains on held-out examples: of the biases of the last n layers,
over the model as it starts; of a share of a layer's input channels, beside all biases, over all biases alone. Every
choice of one n and a share for each layer is then weighed by the sum of its contributions, and of those that the
budget allows the best is taken. The paper searches by evolution; a network of five layers is small enough to try all.
Source: Lin et al., 2022, arXiv 2206.15472, section 3.2. What its gains are over is read from memory, not from the text.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from tightfit.commands import DONE, carry_out
from tightfit.commands.verbs import CHOOSE_UPDATE
from tightfit.commands.words import Said, WrongWords
from tightfit.memory.budget import MemoryBudget, readable
from tightfit.memory.table import LayerRow, LayerTable, layer_table
from tightfit.models.adapters.sparse_update import SparseUpdate, quantized_layers
from tightfit.records.record import RunRecord, read_evals
from tightfit.run import session
from tightfit.run.composed import composed
from tightfit.run.faults import EXPECTED
from tightfit.run.fitting import held_in_memory
from tightfit.run.parts import build
from tightfit.run.pretraining import NO_ADAPTER, UNLIMITED
from tightfit.run.task import LARGEST, Task

TARGET = f"{SparseUpdate.__module__}.{SparseUpdate.__qualname__}"


@dataclass(frozen=True)
class Choice:
    """biases: of how many of the last layers they are trained; shares: of each layer's input channels, in order."""

    biases: int
    shares: tuple[float, ...]

    def adapter(self, layers: Sequence[str]) -> dict[str, Any]:
        weights = {name: share for name, share in zip(layers, self.shares, strict=True) if share}
        return {"_target_": TARGET, "name": "sparse_update", "biases": self.biases, "weights": weights}

    def words(self, layers: Sequence[str]) -> str:
        weights = ", ".join(f"{name}: {share:g}" for name, share in self.adapter(layers)["weights"].items())
        return f"adapter=sparse_update adapter.biases={self.biases} 'adapter.weights={{{weights}}}'"


@dataclass(frozen=True)
class Contributions:
    """Gains of accuracy. biases: by how many layers; weights: by the place of the layer and the share."""

    biases: Mapping[int, float]
    weights: Mapping[tuple[int, float], float]

    def of(self, choice: Choice) -> float:
        parts = (self.weights[place, share] for place, share in enumerate(choice.shares) if share)
        return (self.biases[choice.biases] if choice.biases else 0.0) + sum(parts)


class Need:
    """Bytes of the budget's memory that a choice takes, from rows that are made once for each share."""

    def __init__(self, task: Task, shares: Sequence[float]) -> None:
        self._task = task
        self._layers = list(quantized_layers(task.model))
        self._rows = {
            (biases, share): self._with_all_layers_alike(biases, share)
            for biases, share in itertools.product((False, True), shares)
        }

    def of(self, choice: Choice) -> int:
        first_bias = len(self._layers) - choice.biases
        kinds = {
            name: (place >= first_bias, share)
            for place, (name, share) in enumerate(zip(self._layers, choice.shares, strict=True))
        }
        plain = self._rows[False, 0]
        rows = tuple(self._rows[kinds.get(row.name, (False, 0))][place] for place, row in enumerate(plain))
        table = LayerTable(self._task.table.model, rows)
        return held_in_memory(self._task, table, int(self._task.training.batch_size))

    def _with_all_layers_alike(self, biases: bool, share: float) -> tuple[LayerRow, ...]:
        model = copy.deepcopy(self._task.model)
        if biases or share:
            SparseUpdate(len(self._layers) if biases else 0, dict.fromkeys(self._layers, share)).inject(model, 0)
        else:
            model.requires_grad_(False)
        return layer_table(model, self._task.dataset.example_shape).rows


def choices(layers: int, shares: Sequence[float]) -> Iterator[Choice]:
    """All that train something."""
    for biases in range(layers + 1):
        for taken in itertools.product(shares, repeat=layers):
            if biases or any(taken):
                yield Choice(biases, taken)


def parts(layers: int, shares: Sequence[float]) -> tuple[list[Choice], list[Choice]]:
    """What is measured: the biases of 1, 2, … layers, and beside those of all each share of each layer."""
    nothing = (0.0,) * layers
    of_biases = [Choice(biases, nothing) for biases in range(1, layers + 1)]
    of_weights = [
        Choice(layers, (*nothing[:place], share, *nothing[place + 1 :]))
        for place in range(layers)
        for share in shares
        if share
    ]
    return of_biases, of_weights


def best(found: Contributions, every: Iterable[Choice], need: Callable[[Choice], int], budget: MemoryBudget) -> Choice:
    """Of those that the budget allows the one with the largest sum of contributions; of equal ones the smallest.

    Raises WrongWords where it allows none.
    """
    allowed = [(found.of(choice), -size, choice) for choice in every if budget.allows(size := need(choice))]
    if not allowed:
        raise WrongWords(f"memory_budget={budget.name} allows no update of this model; choose a smaller batch_size")
    return max(allowed, key=lambda one: one[:2])[2]


def main(words: Sequence[str]) -> int:
    return carry_out(CHOOSE_UPDATE, words, choose_update, EXPECTED)


def choose_update(said: Said) -> int:
    """Measure contributions, each by a recorded run, and print them and the choice; the exit code."""
    config = composed(said.of_a_run)
    check_question(config)
    shares = [0.0, *shares_of(said.settings["shares"])]
    task = session.build_task({**config, "adapter": NO_ADAPTER}, RunRecord(key="", experiment="", config={}))
    layers = list(quantized_layers(task.model))
    need = Need(task, shares)
    found = measured(config, layers, shares)
    choice = best(found, choices(len(layers), shares), need.of, task.budget)
    show(found, choice, layers, need)
    return DONE


def check_question(config: Mapping[str, Any]) -> None:
    """Raise WrongWords unless `config` says data to measure on, a step to count and a limit to keep."""
    if not config["dataset"].get("held_out"):
        raise WrongWords(
            "contributions are measured on held-out examples, not on the test set; write dataset.held_out=…"
        )
    if config["training"]["batch_size"] == LARGEST:
        raise WrongWords("training.batch_size=largest depends on what is to be chosen; write a number")
    if build(config["memory_budget"]).bytes is None:
        name = config["memory_budget"]["name"]
        raise WrongWords(f"memory_budget={name} allows everything, so there is nothing to choose; write another")


def shares_of(said: str) -> list[float]:
    try:
        shares = [float(share) for share in said.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise WrongWords(f"shares={said} are no shares of channels; write some from 0 to 1, such as 0.125,0.5,1")
    return shares


def measured(config: Mapping[str, Any], layers: Sequence[str], shares: Sequence[float]) -> Contributions:
    """What each part gains, by a run of each."""
    of_biases, of_weights = parts(len(layers), shares)
    biases: dict[int, float] = {}
    for choice in of_biases:
        start, biases[choice.biases] = accuracies(config, choice.adapter(layers))
        biases[choice.biases] -= start
    all_biases = start + biases[len(layers)]
    weights: dict[tuple[int, float], float] = {}
    for choice in of_weights:
        place, share = next((place, share) for place, share in enumerate(choice.shares) if share)
        weights[place, share] = accuracies(config, choice.adapter(layers))[1] - all_biases
    return Contributions(biases, weights)


def accuracies(config: Mapping[str, Any], adapter: Mapping[str, Any]) -> tuple[float, float]:
    """On the held-out examples, before and after the run of `config` that trains `adapter` without a budget.

    Raises ValueError when the run does not finish.
    """
    outcome = session.carry_out({**config, "adapter": adapter, "memory_budget": UNLIMITED})
    if outcome.status != "finished":
        raise ValueError(f"a contribution cannot be measured: its run ended as {outcome.status}, {outcome.reason}")
    first, *_, last = read_evals(outcome.folder)
    return first["validation_accuracy"], last["validation_accuracy"]


def show(found: Contributions, choice: Choice, layers: Sequence[str], need: Need) -> None:
    table = Table("trained alone", "gain, points", title="Contributions on held-out examples")
    for biases, gain in found.biases.items():
        table.add_row(f"biases of the last {biases}", f"{100 * gain:+.2f}")
    for (place, share), gain in found.weights.items():
        table.add_row(f"{layers[place]}: {share:g} of its channels", f"{100 * gain:+.2f}")
    Console().print(table)
    print(f"{choice.words(layers)}: {readable(need.of(choice))}, contributions {100 * found.of(choice):+.2f} points")
