"""Runs trained as one: each is recorded, evaluated, stopped and continued as if it were by itself."""

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.killing import Killed
from tests.test_session import config
from tightfit.launch.stacked import carry_out_stacked, groups_of
from tightfit.models.lenet5 import lenet5
from tightfit.records.record import RunRecord, read_evals, read_run
from tightfit.run.interruption import Interruption
from tightfit.run.keys import run_folder
from tightfit.run.loop import Run
from tightfit.run.session import carry_out
from tightfit.run.stack import Stack

MEZO = {"_target_": "tightfit.optimizers.mezo.MeZO", "name": "mezo", "lr": 3e-3, "eps": 1e-3, "clip": 5.0}
DECAY = {"_target_": "tightfit.optimizers.schedules.StepDecay", "initial": 3e-3, "factor": 0.5, "every_epochs": 1}
BARS = {"_target_": "tests.synthetic.bars", "name": "bars"}
OTHER_BARS = {**BARS, "test_limit": 40}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]  # there by one real graph a step
# Differences of rounding in the passes of a few steps: of losses near 2, and of the weights that they moved.
LOSSES_AGREE, WEIGHTS_AGREE = {"abs": 2e-4}, {"rtol": 0, "atol": 2e-4}


def sweep(runs: Path, device: str = "cpu", **training: Any) -> list[dict[str, Any]]:
    """Four runs that differ in all that runs of a stack may."""
    options = {"epochs": 2, "evaluations": 2, "batch_size": 16, **training}
    changes = ({}, {"lr": DECAY}, {"eps": 2e-3, "clip": 1.0}, {})
    parts = enumerate(zip(changes, (BARS, BARS, BARS, OTHER_BARS), strict=True))
    same = {"device": device, "training": options}
    return [config(runs, seed=n, optimizer={**MEZO, **change}, dataset=data, **same) for n, (change, data) in parts]


def records(configs: list[dict[str, Any]]) -> list[RunRecord]:
    found = [read_run(run_folder(one)) for one in configs]
    assert all(found)
    return found


def weights(one: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return torch.load(run_folder(one) / "weights.pt", weights_only=True)


@pytest.mark.parametrize("device", DEVICES)
def test_stacked_runs_end_as_runs_by_themselves_up_to_the_rounding_of_their_passes(device: str, tmp_path: Path) -> None:
    by_themselves, together = sweep(tmp_path / "alone", device), sweep(tmp_path / "stacked", device)
    for one in by_themselves:
        carry_out(one)
    outcomes = carry_out_stacked(together, most=64)
    assert [outcome.status for outcome in outcomes] == ["finished"] * 4
    for one, other, was, is_ in zip(by_themselves, together, records(by_themselves), records(together), strict=True):
        assert is_.execution == {"stacked": 4}
        assert (is_.key, is_.summary["steps"]) == (was.key, was.summary["steps"])
        for row, beside in zip(read_evals(run_folder(one)), read_evals(run_folder(other)), strict=True):
            assert row["forward_passes"] == beside["forward_passes"]
            assert beside["test_loss"] == pytest.approx(row["test_loss"], **LOSSES_AGREE)
            assert beside["train_loss"] == pytest.approx(row["train_loss"], **LOSSES_AGREE)
        for name, tensor in weights(one).items():
            torch.testing.assert_close(weights(other)[name], tensor, **WEIGHTS_AGREE)


def test_runs_whose_steps_would_be_captured_are_stacked_all_the_same(tmp_path: Path) -> None:
    together = sweep(tmp_path, capture="always")
    carry_out_stacked(together, most=64)
    assert [record.execution for record in records(together)] == [{"stacked": 4}] * 4


@pytest.mark.parametrize("bp_pass", ["minus", "plus", "mean"])
def test_layers_that_are_backpropagated_are_stacked_too(bp_pass: str, tmp_path: Path) -> None:
    elastic = {**MEZO, "_target_": "tightfit.optimizers.elastic_zo.ElasticZO", "bp_layers": 2, "bp_pass": bp_pass}
    by_themselves, together = sweep(tmp_path / "alone"), sweep(tmp_path / "stacked")
    for one in [*by_themselves, *together]:
        one["optimizer"] = {**elastic, "bp_lr": 0.01 * (1 + one["seed"])}
    for one in by_themselves:
        carry_out(one)
    carry_out_stacked(together, most=64)
    for one, other, was, is_ in zip(by_themselves, together, records(by_themselves), records(together), strict=True):
        assert is_.execution == {"stacked": 4}
        assert is_.summary["final_loss"] == pytest.approx(was.summary["final_loss"], **LOSSES_AGREE)
        assert (
            read_evals(run_folder(one))[-1]["backward_passes"] == read_evals(run_folder(other))[-1]["backward_passes"]
        )
        for name, tensor in weights(one).items():
            torch.testing.assert_close(weights(other)[name], tensor, **WEIGHTS_AGREE)


def test_directions_and_starting_points_of_a_stack_have_the_bits_of_runs_by_themselves(tmp_path: Path) -> None:
    """With losses that say nothing, weights move along the directions alone."""
    by_themselves, together = sweep(tmp_path / "alone"), sweep(tmp_path / "stacked")
    for one in [*by_themselves, *together]:
        one["model"] = {"_target_": "tests.test_stack.unimpressed", "name": "unimpressed"}
    carry_out_stacked(together, most=4)
    for one in by_themselves:
        carry_out(one)
    for was, is_ in zip(records(by_themselves), records(together), strict=True):
        assert is_.execution == {"stacked": 4}
        assert is_.summary["weights_sha256"] == was.summary["weights_sha256"]


class Unimpressed(torch.nn.Module):
    """Gives every class the same chance, whatever its weights."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.inner = lenet5(10, seed)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 0 * self.inner(images)


def unimpressed(classes: int, seed: int) -> Unimpressed:
    return Unimpressed(seed)


@pytest.mark.parametrize("keep", ["weights", "losses"])
def test_a_stack_that_is_killed_and_started_again_ends_with_the_same_weights(
    keep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, killed = sweep(tmp_path / "a", keep=keep), sweep(tmp_path / "b", keep=keep)
    carry_out_stacked(undisturbed, most=4)
    save, saved = Run.save, []

    def save_or_die(run: Run) -> None:
        save(run)
        saved.append(run)
        if len(saved) == 4:  # all runs are at the first checkpoint
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save_or_die)
        with pytest.raises(Killed):
            carry_out_stacked(killed, most=4)
    assert {outcome.status for outcome in carry_out_stacked(killed, most=4)} == {"finished"}
    for was, is_ in zip(records(undisturbed), records(killed), strict=True):
        assert is_.summary["weights_sha256"] == was.summary["weights_sha256"]
        assert is_.evaluations["rows"] == 3


def test_a_stack_told_to_stop_leaves_all_runs_interrupted_and_goes_on_when_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed, stopped = sweep(tmp_path / "a"), sweep(tmp_path / "b")
    carry_out_stacked(undisturbed, most=4)
    monkeypatch.setattr(Interruption, "process_is_stopping", False)
    take = Stack.train_one_step
    with monkeypatch.context() as patch:
        patch.setattr(Stack, "train_one_step", lambda stack: (take(stack), os.kill(os.getpid(), signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt):
            carry_out_stacked(stopped, most=4)
    assert {(one.status, one.reason) for one in records(stopped)} == {
        ("interrupted", "stopped on request at step 1 of 12; run again to continue")
    }
    monkeypatch.setattr(Interruption, "process_is_stopping", False)
    carry_out_stacked(stopped, most=4)
    for was, is_ in zip(records(undisturbed), records(stopped), strict=True):
        assert is_.summary["weights_sha256"] == was.summary["weights_sha256"]


def test_a_run_that_diverges_ends_alone_and_the_others_go_on(tmp_path: Path) -> None:
    configs = sweep(tmp_path)
    configs[1]["optimizer"]["lr"], configs[1]["optimizer"]["clip"] = 1e9, 1e9
    carry_out_stacked(configs, most=4)
    ended = records(configs)
    assert [record.status for record in ended] == ["finished", "diverged", "finished", "finished"]
    assert re.match(r"loss is (nan|inf) at step \d+; lower", ended[1].reason)
    assert ended[1].summary["steps"] < 12


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"optimizer": {**MEZO, "restore": "exact"}}, "restore=merged"),
        ({"optimizer": config(Path())["optimizer"]}, "the host has a part"),
        ({"training": {"epochs": 1, "batch_size": 16, "seconds": 60}}, "trained for seconds"),
        ({"training": {"epochs": 1, "batch_size": 16, "capture": "never"}}, "training.capture=never"),
        ({"dataset": {"_target_": "tests.synthetic.boxes", "name": "boxes"},
          "model": {"_target_": "tightfit.models.pointnet.pointnet", "name": "pointnet"}}, "keeps statistics"),
        ({"model": {"_target_": "tests.test_stack.forgetful", "name": "forgetful"}}, "random"),
    ],
    ids=["exact", "bp", "seconds", "never", "buffers", "dropout"],
)  # fmt: skip
def test_runs_that_cannot_be_stacked_are_made_one_by_one_and_the_reason_is_said(
    change: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"training": {"epochs": 0.2, "evaluations": 1, "batch_size": 16}, "optimizer": MEZO}
    configs = [config(tmp_path, **{**small, **change}, seed=seed) for seed in range(2)]
    configs = [{**one, "training": {**one["training"], "epochs": 0.2, "evaluations": 1}} for one in configs]
    assert [outcome.status for outcome in carry_out_stacked(configs, most=4)] == ["finished"] * 2
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[2 runs] one by one")]
    assert len(said) == 1
    assert reason in said[0]
    assert all("stacked" not in record.execution for record in records(configs))


def forgetful(classes: int, seed: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Dropout(0.5), lenet5(classes, seed))


def test_runs_go_together_when_seeds_scalars_and_data_alone_differ_each_once_and_not_too_many(tmp_path: Path) -> None:
    base = sweep(tmp_path)
    assert groups_of(base, most=64) == [[0, 1, 2, 3]]
    assert groups_of(base, most=3) == [[0, 1, 2], [3]]
    others = [{**base[0], "training": {**base[0]["training"], "batch_size": 8}}, {**base[0], "seed": -1}, base[0]]
    assert groups_of([*base, *others], most=64) == [[0, 1, 2, 3], [4]]
