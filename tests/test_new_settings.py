"""A setting that a part takes and its option does not have is set by its plain name."""

import pytest

from tightfit.launch.reproduce import plan
from tightfit.run.configuration import with_new_settings

BUDGET = ["memory_budget=custom", "memory_budget.size=17GB"]


def test_a_budget_of_any_size_is_enforced_by_the_plain_name() -> None:
    (plain,), (added,) = plan([*BUDGET, "memory_budget.enforce=true"]), plan([*BUDGET, "+memory_budget.enforce=true"])
    assert plain.config["memory_budget"]["enforce"] is True
    assert plain.folder == added.folder


@pytest.mark.parametrize(
    "words",
    [
        ["seed=3", "optimizer=bp_sgd,mezo"],
        ["optimizer.lr=0.1", "training.epochs=3"],
        [*BUDGET],  # the size is there, without a value
        ["optimizer.direction.kernel=fused"],
        ["+memory_budget.enforce=true", "~optimizer.clip"],
        ["--multirun", "training.epochs=1,2"],
        ["experiments=elasticzo/table1", "pretraining.seed=1"],  # a row may have it
    ],
)
def test_words_for_what_is_there_are_left_as_they_are(words: list[str]) -> None:
    assert with_new_settings(words) == words


def test_a_setting_that_an_experiment_sweeps_over_is_replaced_and_not_doubled() -> None:
    (run,) = plan(
        ["experiments=memory_grid/lenet5", "experiments/memory_grid/row@_global_=mezo", "training.batch_size=3"]
    )
    assert run.config["training"]["batch_size"] == 3
