"""From configuration to ended run, in process: failures of the machine are recorded and nothing is lost."""

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit import checkpoint, runner
from tightfit.datasets.dataset import DataUnavailable
from tightfit.numerics import integer_matmul
from tightfit.numerics.integer_matmul import BACKENDS
from tightfit.records import read_evals, read_run, run_key, write_run
from tightfit.session import carry_out, checksums
from tightfit.tracking.local import LocalOnly

from . import synthetic
from .killing import killed_at_second_checkpoint

FULL = OSError(errno.ENOSPC, "No space left on device")


def config(runs: Path, **changes: Any) -> dict[str, Any]:
    return {
        "experiment": "scratch",
        "profile": "smoke",
        "cell": None,
        "seed": 0,
        "device": "cpu",
        "threads": 1,
        "training": {"epochs": 4, "evaluations": 4, "batch_size": 16},
        "pretraining": None,
        "paths": {"runs": str(runs)},
        "optimizer": {"_target_": "tightfit.optimizers.bp_sgd.BPSGD", "name": "bp_sgd", "lr": 0.05},
        "model": {"_target_": "tightfit.models.lenet5.lenet5", "name": "lenet5"},
        "dataset": {"_target_": "tests.synthetic.bars", "name": "bars"},
        "memory_budget": {"_target_": "tightfit.memory.budget.MemoryBudget", "name": "unlimited"},
        "tracker": {"_target_": "tightfit.tracking.local.LocalOnly"},
        **changes,
    }


INTEGERS = {"_target_": "tightfit.models.lenet5_int8.lenet5_int8", "name": "lenet5_int8"}


def test_key_ignores_what_cannot_change_the_result(tmp_path: Path) -> None:
    base = config(tmp_path)
    elsewhere = config(tmp_path / "other", tracker={"_target_": "another"})
    assert run_key(base) == run_key(elsewhere)
    assert run_key(
        {**base, "dataset": {**base["dataset"], "folder": "/data", "cache": "/cache", "title": "Bars"}}
    ) == run_key(base)
    for part in ({"seed": 1}, {"threads": 2}, {"profile": "paper"}, {"training": {**base["training"], "epochs": 5}}):
        assert run_key({**base, **part}) != run_key(base)


def test_means_of_multiplying_integers_leave_the_key(tmp_path: Path) -> None:
    base = config(tmp_path, model=INTEGERS)
    keys = {run_key({**base, "model": {**INTEGERS, "backend": backend}}) for backend in BACKENDS}
    assert len(keys) == 1
    assert keys != {run_key({**base, "model": {**INTEGERS, "name": "another", "backend": "int8"}})}


@pytest.mark.parametrize(
    ("asked", "fast", "means"), [("auto", False, "float32"), ("auto", True, "int8"), ("int8", False, "int8")]
)
def test_means_of_multiplying_integers_are_on_record(
    asked: str, fast: bool, means: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integer_matmul, "has_fast_int8", lambda: fast)
    niti = {"_target_": "tightfit.optimizers.niti_bp.NITIBP", "name": "niti_bp", "bits": 5}
    training = {"epochs": 1, "evaluations": 1, "batch_size": 48}
    described = config(tmp_path, model={**INTEGERS, "backend": asked}, optimizer=niti, training=training)
    record = read_run(carry_out(described).folder)
    assert record is not None
    assert record.model["backend"] == means
    assert record.machine["capability"] == torch.backends.cpu.get_cpu_capability()


def test_options_added_later_leave_the_keys_of_earlier_runs(tmp_path: Path) -> None:
    base = config(tmp_path)

    def key(**settings: str) -> str:
        return run_key({**base, "optimizer": {**base["optimizer"], **settings}})

    assert key(noise="gaussian", kernel="auto", restore="merged") == key(kernel="fused") == key()
    assert len({key(), key(noise="rademacher"), key(restore="exact")}) == 3
    of_texts = [{"encoding": None, "separator": None}, {}, {"encoding": "latin-1"}, {"separator": ";"}]
    keys = [run_key({**base, "dataset": {**base["dataset"], **settings}}) for settings in of_texts]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_full_disk_fails_with_the_reason_and_a_later_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = carry_out(config(tmp_path / "whole"))
    saves: list[Path] = []
    real = checkpoint.save

    def save(path: Path, state: dict[str, Any]) -> None:
        saves.append(path)
        if len(saves) == 3:
            raise FULL
        real(path, state)

    monkeypatch.setattr(checkpoint, "save", save)
    outcome = carry_out(config(tmp_path / "full"))
    record = read_run(outcome.folder)
    assert outcome.status == "failed"
    assert record is not None
    assert "No space left on device" in record.reason
    assert len(read_evals(outcome.folder)) == 4
    monkeypatch.setattr(checkpoint, "save", real)
    again = carry_out(config(tmp_path / "full"))
    digests = [json.loads((o.folder / "run.json").read_text())["summary"]["weights_sha256"] for o in (whole, again)]
    assert digests[0] == digests[1]


def test_full_disk_at_the_record_itself_is_told_and_does_not_hide_the_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise FULL

    monkeypatch.setattr(runner, "append_eval", full)
    monkeypatch.setattr("tightfit.session.write_run", full)
    outcome = carry_out(config(tmp_path))
    assert outcome.status == "failed"
    assert "free space and run again to continue" in capsys.readouterr().err


def test_data_that_cannot_be_had_is_a_failed_run_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(**_: object) -> None:
        raise DataUnavailable("bars cannot be had: no route led to it")

    monkeypatch.setattr("tests.synthetic.bars", unavailable)
    outcome = carry_out(config(tmp_path))
    record = read_run(outcome.folder)
    assert record is not None
    assert (record.status, record.reason) == ("failed", "DataUnavailable: bars cannot be had: no route led to it")


def test_pretraining_is_run_once_and_its_weights_are_the_start(tmp_path: Path) -> None:
    pretraining = {
        "optimizer": {"_target_": "tightfit.optimizers.bp_adam.BPAdam", "name": "bp_adam", "lr": 0.003},
        "training": {"epochs": 10, "evaluations": 1, "batch_size": 16},
    }
    first = carry_out(config(tmp_path, pretraining=pretraining))
    carry_out(config(tmp_path, pretraining=pretraining, training={"epochs": 1, "evaluations": 1, "batch_size": 16}))
    (pretrained,) = (tmp_path / "pretraining").iterdir()
    end_of_pretraining = read_evals(pretrained)[-1]
    assert read_evals(first.folder)[0]["test_loss"] == end_of_pretraining["test_loss"]


def test_failed_pretraining_fails_the_run_that_needs_it(tmp_path: Path) -> None:
    pretraining = {"optimizer": {"_target_": "tightfit.optimizers.bp_sgd.BPSGD", "name": "bp_sgd", "lr": 1e30}}
    outcome = carry_out(config(tmp_path, pretraining=pretraining))
    record = read_run(outcome.folder)
    assert record is not None
    assert record.status == "failed"
    assert "pretraining ended as diverged" in record.reason


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"schema": 99}', '{"schema": 1, "key": "only"}'])
def test_unreadable_record_is_named_with_the_remedy(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "scratch" / run_key(config(tmp_path))
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match="delete the folder to run it again"):
        carry_out(config(tmp_path))


MEZO = {"_target_": "tightfit.optimizers.mezo.MeZO", "name": "mezo", "lr": 1e-4, "eps": 1e-3}
PRGE = {"_target_": "tightfit.optimizers.p_rge.PRGE", "name": "p_rge", "lr": 1e-4, "eps": 1e-3}
INT8 = {"_target_": "tightfit.optimizers.elastic_zo_int8.ElasticZOInt8", "name": "zo_int8", "r_max": 15, "p_zero": 0.3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "threads=0 but a run has a whole number of them; choose 1 or more"),
        ({"training": {"epochs": "ten"}}, "training.epochs='ten' is no amount of training; write a number above 0"),
        ({"optimizer": {**PRGE, "eps": 0}}, "optimizer.eps=0 is not more than 0"),
        ({"optimizer": {**MEZO, "eps": "x"}}, "optimizer.eps='x' is neither a number nor a schedule"),
        ({"optimizer": {**MEZO, "clip": -1}}, "optimizer.clip=-1 is not more than 0"),
        ({"optimizer": {**INT8, "p_zero": 1.5}}, "optimizer.p_zero=1.5 is not from 0 to less than 1"),
    ],
)
def test_impossible_settings_are_a_failed_run_with_one_clear_reason(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    outcome = carry_out(config(tmp_path, **changes))
    assert outcome.status == "failed"
    assert outcome.reason.startswith(f"ValueError: {message}")
    assert read_run(outcome.folder).reason == outcome.reason  # type: ignore[union-attr]


def test_a_place_that_cannot_be_written_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ValueError, match=r"runs/scratch/\w+ cannot be written .*; choose a place by paths.runs=…"):
        carry_out(config(tmp_path / "runs"))


def test_a_tracker_that_cannot_be_built_leaves_no_record(tmp_path: Path) -> None:
    tracker = {"_target_": "tightfit.tracking.wandb.WandbTracker", "mode": "x"}
    with pytest.raises(ValueError, match=r"tracker.mode='x' is unknown; choose auto, online, offline or disabled"):
        carry_out(config(tmp_path, tracker=tracker))
    assert not list(tmp_path.rglob("run.json"))


def test_a_finished_run_that_is_met_again_has_its_mirror_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed: list[tuple[str, Path]] = []
    monkeypatch.setattr(LocalOnly, "complete", lambda self, record, folder: completed.append((record.status, folder)))
    outcome = carry_out(config(tmp_path))
    assert not completed
    carry_out(config(tmp_path))
    assert completed == [("finished", outcome.folder)]


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The checksum of the data, to be changed: that of the user's own file."""
    content = {"sha256": "1" * 64}
    real = synthetic.bars
    monkeypatch.setattr("tests.synthetic.bars", lambda **_: replace(real(), checksums={"file.npz": content["sha256"]}))
    checksums.cache_clear()
    return content


OWN = {"_target_": "tests.synthetic.bars", "name": "bars", "folder": "mine"}
CHANGED = r"a run on file.npz with sha256 111111111111…, but that has 222222222222… now; put the earlier data back, or"


def test_a_run_on_a_users_file_that_changed_since_is_not_passed_for_one_on_what_it_is_now(
    tmp_path: Path, file: dict[str, str]
) -> None:
    folder = carry_out(config(tmp_path, dataset=OWN)).folder
    record = (folder / "run.json").read_bytes()
    assert carry_out(config(tmp_path, dataset=OWN)).status == "finished"
    file["sha256"] = "2" * 64
    checksums.cache_clear()
    with pytest.raises(ValueError, match=CHANGED):
        carry_out(config(tmp_path, dataset=OWN))
    assert (folder / "run.json").read_bytes() == record


def test_a_killed_run_is_not_continued_on_other_data(tmp_path: Path, file: dict[str, str]) -> None:
    with killed_at_second_checkpoint():
        carry_out(config(tmp_path, dataset=OWN))
    file["sha256"] = "2" * 64
    with pytest.raises(ValueError, match=CHANGED):
        carry_out(config(tmp_path, dataset=OWN))


def test_records_without_checksums_and_data_that_are_gone_leave_a_finished_run_finished(
    tmp_path: Path, file: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(**_: object) -> None:
        raise DataUnavailable("gone")

    folder = carry_out(config(tmp_path, dataset=OWN)).folder
    with monkeypatch.context() as patch:
        patch.setattr("tests.synthetic.bars", unavailable)
        assert carry_out(config(tmp_path, dataset=OWN)).status == "finished"
    file["sha256"] = "2" * 64
    record = read_run(folder)
    assert record is not None
    del record.dataset["checksums"]
    write_run(folder, record)
    assert carry_out(config(tmp_path, dataset=OWN)).status == "finished"


def test_a_row_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    outcome = carry_out(config(tmp_path))
    rows = read_evals(outcome.folder)
    with (outcome.folder / "evals.jsonl").open("a") as file:
        file.write('{"step": 99, "test_acc')
    assert read_evals(outcome.folder) == rows
