"""CompreSSM is backpropagation that loses states at its checks, resumes across them, and holds most at first."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tests.synthetic import adapted, bars
from tightfit.datasets.batches import Batches
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.enforcement import Limit
from tightfit.memory.measured import STEPS_TO_PEAK, peak_live_bytes
from tightfit.memory.table import layer_table
from tightfit.models.adapters.lora import LoRA
from tightfit.models.lenet5 import lenet5
from tightfit.models.lru import LRU, LRUClassifier, lru
from tightfit.optimizers.activations.checkpointed import Checkpointed
from tightfit.optimizers.base import Batch, Learner
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.compressm import MATRICES, CompreSSM
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.record import RunRecord, read_evals, read_run
from tightfit.run.checkpoint import load
from tightfit.run.evaluate import cross_entropy
from tightfit.run.loop import run
from tightfit.run.measurement import training_peak
from tightfit.run.rehearsal import batch_like, peak_live
from tightfit.run.session import carry_out
from tightfit.run.task import Task, Training
from tightfit.tracking.local import LocalOnly
from tightfit.use.trained import load as load_run

from ..killing import Killed
from ..test_runner import KillingTracker, without_seconds
from ..test_session import config

NO_LIMIT = Limit(MemoryBudget("unlimited"), torch.device("cpu"))
STEPS = 10  # of an epoch, the whole of training


def method(**settings: Any) -> CompreSSM:
    """Checks are due at the steps 3, 6 and 9 of 10."""
    return CompreSSM(
        **{"lr": 0.01, "rule": Adam(), "epochs": 1.0, "left_out": 0.3, "checks": 3, "within": 0.9} | settings
    )


def network(states: int = 12, layers: int = 2) -> LRUClassifier:
    return lru(10, seed=0, states=states, features=6, layers=layers)


def batch(step: int) -> Batch:
    return Batch(*Batches(bars(), 16, 0).batch(step), step, step / STEPS)


def states(learner: Learner) -> list[int]:
    return [unit.states for unit in learner.resting_model().modules() if isinstance(unit, LRU)]


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([tensor.flatten().float() for tensor in learner.resting_model().state_dict().values()])


def train(learner: Any, steps: range) -> list[float]:
    return [learner.step(batch(step)).loss for step in steps]


@pytest.mark.parametrize("rule", [SGD(), Adam()], ids=["sgd", "adam"])
def test_where_nothing_may_be_left_out_it_is_backpropagation_bit_for_bit(rule: Any) -> None:
    ours = method(rule=rule, left_out=0.0).bind(network(), cross_entropy, 0)
    plain = Backprop(0.01, rule).bind(network(), cross_entropy, 0)
    assert train(ours, range(STEPS)) == train(plain, range(STEPS))
    assert torch.equal(weights(ours), weights(plain))
    assert states(ours) == [12, 12]


def test_states_fall_at_checks_alone_and_their_bytes_with_them() -> None:
    learner, seen = method().bind(network(), cross_entropy, 0), []
    for step in range(STEPS):
        sizes = learner.step(batch(step)).scalars
        seen.append(states(learner))
        assert sizes["states"] == sum(seen[-1])
        assert sizes["states_bytes"] == sum(seen[-1]) * 8 * 16 * 28
        assert sizes["parameter_bytes"] == sum(p.nbytes for p in learner.resting_model().parameters())
    assert seen[0] == seen[2] == [12, 12]
    assert sum(seen[3]) < 24
    assert seen[3] == seen[5]
    assert sum(seen[9]) <= sum(seen[6]) <= sum(seen[3])
    assert all(count >= 1 for count in seen[9])


def test_it_learns_through_its_checks() -> None:
    learner = method().bind(network(), cross_entropy, 0)
    losses = [learner.step(replace(batch(step), epoch=step / 120)).loss for step in range(120)]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert sum(states(learner)) < 24


def test_what_is_left_out_changes_the_answers_little() -> None:
    """The loss just before a check, and just after it with fewer states."""
    learner = method(left_out=0.02, worth=1.0).bind(network(states=32, layers=1), cross_entropy, 0)
    train(learner, range(3))
    with torch.no_grad():
        before = learner.resting_model()(batch(3).inputs)
    learner._shrink()
    with torch.no_grad():
        after = learner.resting_model()(batch(3).inputs)
    assert states(learner) < [32]
    assert (after - before).norm() < 0.1 * before.norm()


def test_little_to_be_gained_is_left() -> None:
    """Of 12 states 0.95 are 11.4."""
    learner = method(worth=0.05).bind(network(), cross_entropy, 0)
    train(learner, range(STEPS))
    assert states(learner) == [12, 12]


def test_a_unit_that_diverged_is_told_by_the_loss_and_not_by_its_check() -> None:
    model = network()
    learner = method().bind(model, cross_entropy, 0)
    train(learner, range(3))
    torch.nn.init.constant_(model.layer2.lru.B, torch.nan)
    assert math.isnan(train(learner, range(3, 4))[0])
    assert states(learner)[1] == 12


def test_moments_of_a_unit_that_shrank_begin_anew_and_those_of_all_else_go_on() -> None:
    learner = method().bind(network(layers=1), cross_entropy, 0)
    train(learner, range(4))  # the fourth follows a check
    taken = {
        name: {int(state["step"]) for state in stepper["state"].values()}
        for name, stepper in learner.state_dict()["rule"].items()
    }
    assert taken == {"": {4}, "layer1.lru": {1}}


@pytest.mark.parametrize("rule", [SGD(), Adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("stopped", [1, 2, 3, 4, 7])
def test_it_resumes_across_checks_as_if_it_had_not_stopped(stopped: int, rule: Any) -> None:
    whole, part, resumed = (method(rule=rule).bind(network(), cross_entropy, 0) for _ in range(3))
    train(whole, range(STEPS))
    train(part, range(stopped))
    resumed.load_state_dict(copy.deepcopy(part.state_dict()))
    train(resumed, range(stopped, STEPS))
    assert states(whole) == states(resumed) != [12, 12]
    assert torch.equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("examples", [1, 32])
@pytest.mark.parametrize("activations", [{}, {"activations": Checkpointed()}], ids=["kept", "checkpointed"])
def test_what_is_rehearsed_is_what_two_steps_hold_a_check_included(examples: int, activations: Any) -> None:
    model, optimizer = lru(10, seed=0), method(left_out=0.02, **activations)
    given = Batch(torch.randn(examples, 1, 28, 28), torch.zeros(examples, dtype=torch.int64), 0, 0.0)
    rehearsed = peak_live(optimizer, model, batch_like(model, (1, 28, 28), examples), cross_entropy)
    measured = training_peak(optimizer, model, given, 0, NO_LIMIT).tensors.bytes
    assert rehearsed == measured
    plain = training_peak(Backprop(0.01, Adam(), optimizer.activations), model, given, 0, NO_LIMIT).tensors.bytes
    assert (measured > plain) == (examples == 1)  # then a check holds more than a step
    assert rehearsed <= optimizer.memory(layer_table(model, (1, 28, 28)), examples).total


def test_no_later_step_holds_more_than_the_first_two_and_those_after_a_check_hold_less() -> None:
    model = lru(10, seed=0, states=32)
    learner, peaks = method().bind(model, cross_entropy, 0), []
    for step in range(STEPS):
        state = [leaf for leaf in held(learner.state_dict()["rule"]) if leaf.dim()]
        given = batch(step)
        resident = [*model.parameters(), *state]
        peaks.append(peak_live_bytes(lambda given=given: learner.step(given), resident, (given.inputs, given.labels)))
    assert max(peaks) == max(peaks[:STEPS_TO_PEAK])
    assert peaks[-1] < 0.9 * peaks[2]


def held(nested: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, torch.Tensor)]


def test_memory_is_that_of_the_first_size_with_the_matrices_of_a_check() -> None:
    table = layer_table(lru(10, seed=0), (1, 28, 28))
    ours, plain = method().memory(table, 32), Backprop(0.01, Adam()).memory(table, 32)
    assert ours == replace(plain, optimizer_state=plain.optimizer_state + MATRICES * 16 * 64**2)
    smaller = method().memory(layer_table(lru(10, seed=0, states=16), (1, 28, 28)), 32)
    assert plain.activations - smaller.activations == 32 * 28 * 8 * 48


def test_checks_are_spread_evenly_over_the_first_part_of_training() -> None:
    published = method(epochs=200, checks=10, within=0.1)
    assert [published.checks_until(epoch) for epoch in (0, 1.9, 2, 4, 19.9, 20, 200)] == [0, 0, 1, 2, 9, 10, 10]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: lenet5(10, 0), "leaves out states of linear recurrent units, and LeNet5 has none; choose model=lru"),
        (lambda: adapted(network(), LoRA(2, 4)), "shrinks layer1.lru, which is frozen; choose adapter=none"),
    ],
)
def test_models_that_it_cannot_shrink_are_refused_in_a_sentence(model: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        method().bind(model(), cross_entropy, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"left_out": 1.0}, "optimizer.left_out=1.0 is not from 0 to less than 1"),
        ({"within": 0.0}, "optimizer.within=0.0 is not above 0 and up to 1"),
        ({"worth": 1.5}, "optimizer.worth=1.5 is not above 0 and up to 1"),
        ({"checks": 0}, "optimizer.checks=0 is not a number from 1"),
        ({"epochs": 0}, "optimizer.epochs=0 is not more than 0"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        method(**wrong)


def task(optimizer: Any = None, model: nn.Module | None = None) -> Task:
    training = Training(epochs=1, evaluations=5, batch_size=8)
    return Task(
        optimizer or method(),
        model or network(),
        bars(),
        MemoryBudget("unlimited"),
        training,
        0,
        torch.device("cpu"),
    )


def through_the_loop(task: Task, folder: Path, tracker: LocalOnly | None = None) -> RunRecord:
    folder.mkdir(exist_ok=True)
    return run(task, RunRecord(key="k", experiment="e", config={}), folder, tracker or LocalOnly(), lambda *_: None)


@pytest.mark.parametrize("at_row", [2, 4])
def test_a_run_killed_between_checks_continues_to_the_same_weights_and_rows(at_row: int, tmp_path: Path) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    expected = through_the_loop(task(), whole)
    with pytest.raises(Killed):
        through_the_loop(task(), part, KillingTracker(at_row))
    assert through_the_loop(task(), part).summary["weights_sha256"] == expected.summary["weights_sha256"]
    rows = read_evals(whole)
    assert without_seconds(read_evals(part)) == without_seconds(rows)
    assert rows[-1]["states"] < rows[1]["states"] == 24
    assert rows[-1]["states_bytes"] < rows[1]["states_bytes"]


def test_a_finished_run_is_loaded_with_the_states_it_kept(tmp_path: Path) -> None:
    ours = "tightfit.optimizers."
    described = config(
        tmp_path,
        model={"_target_": "tightfit.models.lru.lru", "name": "lru", "states": 12, "features": 6},
        optimizer={
            "_target_": ours + "compressm.CompreSSM",
            "name": "compressm",
            "rule": {"_target_": ours + "rules.adam.Adam"},
            "lr": 0.01,
            "epochs": 4,
            "left_out": 0.3,
            "within": 0.5,
        },
    )
    outcome = carry_out(described)
    record = read_run(outcome.folder)
    assert record is not None
    assert record.status == "finished", record.reason
    assert (record.method["rule"], record.method["activations"]) == ("adam", "kept")
    kept = load(outcome.folder / "weights.pt")
    assert kept is not None
    assert len(kept["layer1.lru.nu"]) == read_evals(outcome.folder)[-1]["states"] < 12
    model = load_run(outcome.folder).model
    assert [unit.states for unit in model.modules() if isinstance(unit, LRU)] == [len(kept["layer1.lru.nu"])]
