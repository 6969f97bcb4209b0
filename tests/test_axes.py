"""The axes of an option, read from its file, are those that Hydra takes; also of an option of the user's own."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from tightfit.commands.axes import axes_of, check_axes
from tightfit.commands.vocabulary import options
from tightfit.commands.words import WrongWords
from tightfit.records.places import CONF

OWN = {
    "mine": "defaults:\n  - bp\n  - override rule: adam\nlr: 0.1\n",
    "other": "defaults:\n  - /optimizer/mezo@_here_\n  - _self_\nlr: 0.1\n",
}


@pytest.fixture
def _own_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optimizer").mkdir()
    for name, content in OWN.items():
        (tmp_path / "optimizer" / f"{name}.yaml").write_text(content)
    monkeypatch.setenv("TIGHTFIT_CONF", str(tmp_path))
    GlobalHydra.instance().clear()


@pytest.mark.usefixtures("_own_options")
def test_axes_are_those_that_hydra_chooses_on() -> None:
    there = options()
    optimizers = [option for option in there if option.startswith("optimizer/") and option.count("/") == 1]
    assert {f"optimizer/{name}" for name in OWN} < set(optimizers)
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        for option in optimizers:
            config = compose("config", overrides=[f"optimizer={option.partition('/')[2]}"], return_hydra_config=True)
            chosen = {name for name in config.hydra.runtime.choices if str(name).startswith("optimizer/")}
            assert {f"optimizer/{axis}" for axis in axes_of(option, there)} == {name.split("@")[0] for name in chosen}


@pytest.mark.usefixtures("_own_options")
def test_an_own_option_has_the_axes_of_what_it_is_made_from() -> None:
    check_axes(["optimizer=bp,mine", "optimizer/rule=adam,sgd"])
    with pytest.raises(WrongWords, match="beside optimizer=other, which has direction and descent; write optimizer=mi"):
        check_axes(["optimizer=other,mine", "optimizer/rule=adam"])


def test_of_what_an_experiment_chooses_nothing_is_said() -> None:
    check_axes(["experiments=shelf/pruning", "optimizer/rule=masked_sgd"])
    with pytest.raises(WrongWords, match="optimizer=mezo"):
        check_axes(["optimizer/rule=masked_sgd"])
