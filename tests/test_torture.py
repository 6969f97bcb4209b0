"""A dozen faults of the campaign `make torture`, one of each kind at least, and that it notices what goes wrong."""

import csv
import json
from dataclasses import replace
from math import gcd
from pathlib import Path

import pytest

from tests.torture.faults import KINDS, Fault, drawn
from tests.torture.injection import PHASES
from tests.torture.methods import METHODS
from tests.torture.recorded import TOLD, told
from tests.torture.recorded import main as recorded
from tests.torture.trial import Trial
from tests.torture.twins import Twins
from tightfit.records.places import EXPERIMENTS

SEED = 0
RECORD = EXPERIMENTS / "reliability"
NAMED = ("capability", "instructions", "cpu", "platform", "python", "torch")
INDICES = (0, 9, 11, 13, 16, 17, 18, 19, 20, 21, 22, 23)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Twins:
    return Twins(tmp_path_factory.mktemp("twins"))


def of_two_methods(index: int) -> Fault:
    return replace(drawn(SEED, index), method=("mezo", "best")[index % 2])


def test_the_fixed_faults_are_of_every_kind() -> None:
    assert {drawn(SEED, index).kind for index in INDICES} == set(KINDS)


def test_every_kind_strikes_every_method_in_every_phase() -> None:
    assert gcd(len(KINDS), len(PHASES)) == gcd(len(KINDS), len(METHODS)) == gcd(len(PHASES), len(METHODS)) == 1


@pytest.mark.parametrize("index", INDICES)
def test_a_run_survives(index: int, tmp_path: Path, twins: Twins) -> None:
    trial = Trial(of_two_methods(index), tmp_path, twins)
    outcome, reason = trial.outcome()
    assert outcome in ("same", "refused"), reason
    # The other of two processes may have the run first: then the blow meant for this one never falls.
    assert trial.times_struck or trial.fault.kind == "two processes"


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


def test_the_recorded_campaign_is_told_as_it_went() -> None:
    with (RECORD / "results" / "faults.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert told(rows) in (RECORD / "README.md").read_text()
    assert set(TOLD) == set(KINDS)
    assert sum(int(row["signals"]) for row in rows) >= 1000
    assert sum(int(row["others"]) for row in rows) >= 500
    assert [(row["kind"], row["method"], row["phase"]) for row in rows if int(row["wrong"])] == []
    assert len({row["commit"] for row in rows}) == 1


def test_a_record_counts_what_struck_and_only_of_a_commit(tmp_path: Path) -> None:
    by = {"commit": "0123456789ab", "dirty": False, **dict.fromkeys(NAMED, "Example"), "cores": 2}
    group = {"seed": 3, "kind": "insist", "phase": "end", "method": "mezo"}
    faults = [{**group, "struck": struck, "outcome": "same"} for struck in (1, 2)]
    faults += [{**group, "kind": "disk", "struck": 0, "outcome": "same"}]
    campaign, table = tmp_path / "campaign.jsonl", tmp_path / "results" / "faults.csv"
    page = tmp_path / "README.md"
    before = "| what happens | wrong |\n|---|---|\n| all of them | 1 |\n| all | 1 |"
    page.write_text(f"Before.\n\nSeed 1, commit x:\n\n{before}\n\nAfter.\n")
    campaign.write_text("".join(json.dumps(line) + "\n" for line in (by, *faults)))
    assert recorded([str(campaign), str(table)]) == 0
    disk, insist = csv.DictReader(table.open())
    assert (insist["faults"], insist["signals"], insist["others"], insist["same"]) == ("2", "3", "0", "2")
    assert (disk["faults"], disk["signals"], disk["others"]) == ("1", "0", "0")
    assert page.read_text() == f"Before.\n\n{told([disk, insist])}\n\nAfter.\n"
    assert "Seed 3, commit 0123456789ab; Example Example, 2 cores" in page.read_text()
    campaign.write_text(campaign.read_text().replace("false", "true"))
    with pytest.raises(ValueError, match="no commit has"):
        recorded([str(campaign), str(table)])
