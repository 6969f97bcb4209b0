"""A dozen faults of the campaign `make torture`, one of each kind at least, and that it notices what goes wrong."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.torture.faults import KINDS, Fault, drawn
from tests.torture.trial import Trial
from tests.torture.twins import Twins

SEED = 0
INDICES = (0, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return Twins(tmp_path_factory.mktemp("twins"))


def of_two_methods(index: int) -> Fault:
    return replace(drawn(SEED, index), method=("mezo", "best")[index % 2])


def test_the_fixed_faults_are_of_every_kind() -> None:
    assert {drawn(SEED, index).kind for index in INDICES} == set(KINDS)


@pytest.mark.parametrize("index", INDICES)
def test_a_run_survives(index: int, tmp_path: Path, twins: Twins) -> None:
    outcome, reason = Trial(of_two_methods(index), tmp_path, twins).outcome()
    assert outcome in ("same", "refused"), reason


def test_the_campaign_notices_a_damaged_file_that_is_trusted(
    tmp_path: Path, twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault(SEED, 0, "damage stopped", "mezo", "truncate", 0.5, {"file": 0.5, "bit": 0})
    trial = Trial(fault, tmp_path, twins)
    assert trial.target().name == "evals.jsonl"
    monkeypatch.setattr("tightfit.run.course.keep_evals", lambda *_, **__: None)
    assert trial.outcome()[0] == "wrong"


def test_the_campaign_notices_a_run_that_goes_on_from_elsewhere(
    tmp_path: Path, twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault(SEED, 0, "kill", "best", "training", 0.9, {"signal": "SIGKILL"})
    trial = Trial(fault, tmp_path, twins)
    assert trial.twin.stopped.exists()
    monkeypatch.setattr("tightfit.optimizers.bp.BackpropLearner.load_state_dict", lambda *_: None)
    outcome, reason = trial.outcome()
    assert outcome == "wrong"
    assert "weights_sha256" in reason
