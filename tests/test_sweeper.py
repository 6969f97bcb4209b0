"""Before the first run of a sweep, each is known to be one that Hydra can compose, though few are composed."""

import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins import basic_sweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode

from hydra_plugins import tightfit_sweeper
from tightfit.commands import main
from tightfit.launch.combinations import parsed
from tightfit.records.places import CONF

BROKEN = "_target_: tightfit.optimizers.mezo.MeZO\nname: broken\ndirection:\n  seeds: {first: '${unclosed'}\n"
Batch = Sequence[Sequence[str]]
# Hydra loads modules of plugins anew when it begins, so a sweeper is looked up where it is made.


@pytest.fixture
def context() -> Generator[HydraContext]:
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        yield HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of each run that Hydra is made to compose from now on."""
    asked: list[list[str]] = []
    compose = ConfigLoaderImpl.load_sweep_config

    def counted(self: ConfigLoaderImpl, master_config: object, sweep_overrides: list[str]) -> object:
        asked.append(sweep_overrides)
        return compose(self, master_config, sweep_overrides)  # ty: ignore[invalid-argument-type]

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", counted)
    return asked


def batch_of(*words: str) -> Batch:
    return basic_sweeper.BasicSweeper.split_arguments(parsed(words), None)[0]


def is_legal(sweeper: basic_sweeper.BasicSweeper, context: HydraContext, batch: Batch) -> bool:
    sweeper.hydra_context = context
    sweeper.config = context.config_loader.load_configuration("config", [], RunMode.MULTIRUN)
    try:
        sweeper.validate_batch_is_legal(batch)
    except HydraException:
        return False
    return True


def test_a_set_of_files_is_composed_once_for_all_seeds(context: HydraContext, composed: list[list[str]]) -> None:
    batch = batch_of("optimizer=mezo,bp_sgd", "seed=range(50)", "training.batch_size=8,16")
    assert len(batch) == 200
    assert is_legal(tightfit_sweeper.ByFiles(None), context, batch)
    assert composed == [batch[0], batch[100]]


@pytest.mark.parametrize(
    "words",
    [
        ("optimizer=mezo,bp_sgd", "optimizer.lr=0.1,0.2", "seed=0,1"),
        ("optimizer=mezo,bp_sgd", "optimizer.eps=0.1,0.2"),  # bp_sgd has none
        ("optimizer=mezo,none_such", "seed=0,1"),
        ("training=1,2", "training.epochs=3"),
        ("training.epochs=3", "training=1,2"),
        ("training={epochs: 2},{fraction: 1}", "seed=0,1"),
        ("+training.other=1,2", "seed=0,1"),
        ("training.other=1,2", "seed=0,1"),
        ("~training.epochs=100,3", "seed=0,1"),
        ("seed=0,${training.epochs}",),
        ("hydra/launcher=all_cores,basic", "hydra.launcher.n_jobs=1,2"),
        ("experiments=elasticzo/table1", "experiments/elasticzo/row@_global_=full_zo,none_such", "seed=0,1"),
    ],
)
def test_what_can_be_composed_is_what_hydras_own_sweeper_says(words: Sequence[str], context: HydraContext) -> None:
    batch = batch_of(*words)
    by_files, one_by_one = tightfit_sweeper.ByFiles(None), basic_sweeper.BasicSweeper(None)
    assert is_legal(by_files, context, batch) == is_legal(one_by_one, context, batch)


def test_a_file_that_is_broken_deep_within_is_told_in_a_sentence_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "broken.yaml").write_text(BROKEN)
    monkeypatch.setattr(sys, "argv", ["tightfit"])
    monkeypatch.setenv("TIGHTFIT_CONF", os.fspath(tmp_path / "conf"))
    GlobalHydra.instance().clear()
    words = ["optimizer=mezo,broken", "seed=0,1", "profile=smoke", "dataset._target_=tests.synthetic.bars"]
    assert main(["run", *words, "tracker=local", "hydra/launcher=all_cores", f"paths.runs={tmp_path / 'runs'}"]) == 2
    said = capfd.readouterr()
    told, *_ = [line for line in (said.out + said.err).splitlines() if line]
    assert told.startswith(
        "direction.seeds.first: no viable alternative at input '${unclosed'; so no run of this sweep"
    )
    assert "was begun: leave out optimizer=broken seed=0" in told
    assert not list((tmp_path / "runs").rglob("run.json"))
