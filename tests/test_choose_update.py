"""What to train within a budget: the choice against all of them, its bytes against real models, and the whole verb."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import torch

from tests.synthetic import bars
from tightfit.commands import main
from tightfit.commands.words import WrongWords
from tightfit.launch.choose_update import Choice, Contributions, Need, best, choices, parts
from tightfit.memory.budget import MemoryBudget
from tightfit.memory.table import frozen_bytes, layer_table
from tightfit.models.adapters.sparse_update import SparseUpdate
from tightfit.models.lenet5_qas import lenet5_qas
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.rules.adam import Adam
from tightfit.run.task import Task, Training

LAYERS = ["conv1", "conv2", "fc1", "fc2", "fc3"]
SHARES = [0.0, 0.25, 1.0]
DEVICE = MemoryBudget("mcu", "256KiB", flash="1MiB")


@pytest.fixture(scope="module")
def task() -> Task:
    training = Training(epochs=1, batch_size=8)
    return Task(Backprop(0.05, Adam()), lenet5_qas(10, 0), bars(), DEVICE, training, 0, torch.device("cpu"))


@pytest.mark.parametrize(
    ("biases", "shares"),
    [
        (5, (0, 0, 0, 0, 0)),
        (0, (0, 0, 0, 0, 1)),
        (2, (0, 0.25, 0, 1, 0)),
        (3, (0, 0, 0.25, 0.25, 1)),
        (1, (1, 1, 1, 1, 1)),
    ],
)
def test_bytes_of_a_choice_are_those_of_the_model_that_it_makes(
    task: Task, biases: int, shares: tuple[float, ...]
) -> None:
    model = copy.deepcopy(task.model)
    SparseUpdate(biases, dict(zip(LAYERS, shares, strict=True))).inject(model, 0)
    table = layer_table(model, (1, 28, 28))
    expected = task.optimizer.memory(table, 8).total - frozen_bytes(table.rows)
    assert Need(task, SHARES).of(Choice(biases, shares)) == expected


def test_the_best_of_all_that_the_budget_allows_is_chosen() -> None:
    random = torch.Generator().manual_seed(0)
    gains = torch.randn(2 + 2 * 2, generator=random).tolist()
    keys = list(itertools.product(range(2), SHARES[1:]))
    found = Contributions({1: gains[0], 2: gains[1]}, dict(zip(keys, gains[2:], strict=True)))
    sizes = {choice: 10 * choice.biases + 100 * sum(choice.shares) for choice in choices(2, SHARES)}
    for limit in (10, 30, 60, 120, 1000):
        expected, most = None, float("-inf")
        for biases in range(3):
            for first, second in itertools.product(SHARES, repeat=2):
                if (biases, first, second) == (0, 0, 0) or 10 * biases + 100 * (first + second) > limit:
                    continue
                gain = (0, gains[0], gains[1])[biases]
                gain += sum(found.weights[place, share] for place, share in enumerate((first, second)) if share)
                if gain > most:
                    expected, most = Choice(biases, (first, second)), gain
        assert best(found, choices(2, SHARES), lambda each: int(sizes[each]), MemoryBudget("limit", limit)) == expected


def test_a_budget_that_allows_nothing_is_refused() -> None:
    found = Contributions({1: 0.1}, {(0, 1.0): 0.2})
    with pytest.raises(WrongWords, match=r"memory_budget=tiny allows no update of this model; choose a smaller batch"):
        best(found, choices(1, [0, 1.0]), lambda _: 100, MemoryBudget("tiny", 10))


def test_each_part_is_measured_alone() -> None:
    of_biases, of_weights = parts(2, SHARES)
    assert of_biases == [Choice(1, (0, 0)), Choice(2, (0, 0))]
    assert of_weights == [Choice(2, each) for each in [(0.25, 0), (1, 0), (0, 0.25), (0, 1)]]
    assert (
        Choice(2, (0, 0.25)).words(["a", "b"]) == "adapter=sparse_update adapter.biases=2 'adapter.weights={b: 0.25}'"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "contributions are measured on held-out examples, not on the test set; write dataset.held_out=…"),
        (["dataset.held_out=9"], "memory_budget=unlimited allows everything, so there is nothing to choose"),
        (["dataset.held_out=9", "training.batch_size=largest"], "training.batch_size=largest depends on what is to be"),
    ],
)
def test_a_question_without_an_answer_is_refused(words: list[str], message: str, capsys) -> None:
    assert main(["choose-update", "model=lenet5_qas", "optimizer=bp", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_it_measures_by_recorded_runs_and_prints_words_of_a_run(tmp_path: Path, monkeypatch, capsys) -> None:
    own = tmp_path / "own" / "dataset"
    own.mkdir(parents=True)
    (own / "bars.yaml").write_text("_target_: tests.synthetic.bars\nname: bars\nheld_out: 0\n")
    monkeypatch.setenv("TIGHTFIT_CONF", str(own.parent))
    monkeypatch.setenv("TIGHTFIT_RUNS", str(tmp_path / "runs"))
    words = ["model=lenet5_qas", "optimizer=bp", "dataset=bars", "dataset.held_out=9", "tracker=local"]
    words += ["memory_budget=mcu_256kib_sram_1mib_flash", "training.batch_size=8", "training.epochs=1"]
    assert main(["choose-update", *words, "training.evaluations=1", "shares=1"]) == 0
    told = capsys.readouterr().out
    (chosen,) = [line for line in told.splitlines() if line.startswith("adapter=sparse_update")]
    assert len(list((tmp_path / "runs").rglob("run.json"))) == 5 + 5
    assert "fc1: 1" not in chosen  # whose weights and gradients alone are beyond the budget


@pytest.mark.slow
def test_the_committed_search_is_a_question_with_an_answer(tmp_path: Path, monkeypatch, capsys) -> None:
    """As it is printed, on made-up data and without the epoch before."""
    monkeypatch.setenv("TIGHTFIT_RUNS", str(tmp_path))
    small = ["dataset._target_=tests.synthetic.bars", "pretraining=null", "profile=smoke", "tracker=local", "shares=1"]
    assert main(["choose-update", "experiments=shelf/contributions", *small]) == 0
    assert "adapter=sparse_update" in capsys.readouterr().out
