"""The loop, on a problem small enough to be seen through: budgets, divergence, interruption, resumption."""

import json
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit.memory.budget import MemoryBudget
from tightfit.models.lenet5 import lenet5
from tightfit.models.lenet5_int8 import lenet5_int8
from tightfit.optimizers.base import Optimizer
from tightfit.optimizers.bp import Backprop
from tightfit.optimizers.elastic_zo import ElasticZO
from tightfit.optimizers.elastic_zo_int8 import ElasticZOInt8
from tightfit.optimizers.mezo import MeZO
from tightfit.optimizers.rules.adam import Adam
from tightfit.optimizers.rules.sgd import SGD
from tightfit.records.record import RunRecord, read_evals
from tightfit.run import session
from tightfit.run.interruption import Interruption
from tightfit.run.loop import run
from tightfit.run.task import Task, Training
from tightfit.tracking.local import LocalOnly

from .killing import Killed
from .synthetic import bars


class KillingTracker(LocalOnly):
    """Kills the run at its n-th evaluation row, after the row was written and before the checkpoint."""

    def __init__(self, at_row: int) -> None:
        self.rows, self.at_row = 0, at_row

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        if self.rows == self.at_row:
            raise Killed


class StoppingTracker(KillingTracker):
    """Asks the process to stop, as Ctrl-C does, at the n-th evaluation row."""

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        if self.rows == self.at_row:
            os.kill(os.getpid(), signal.SIGINT)


def task(optimizer: Optimizer, **training: Any) -> Task:
    options = {"epochs": 4, "evaluations": 4, "batch_size": 16, **training}
    model = lenet5_int8(10, seed=0) if isinstance(optimizer, ElasticZOInt8) else lenet5(10, seed=0)
    return Task(optimizer, model, bars(), MemoryBudget("unlimited"), Training(**options), 0, torch.device("cpu"))


def carry_out(task: Task, folder: Path, tracker: LocalOnly | None = None, key: str = "k") -> RunRecord:
    folder.mkdir(exist_ok=True)
    record = RunRecord(key=key, experiment="e", config={})
    return run(task, record, folder, tracker or LocalOnly(), lambda *_: None)


METHODS = {
    "bp_sgd": Backprop(0.05, SGD()),
    "bp_adam": Backprop(1e-3, Adam()),
    "mezo": MeZO(5e-4, 1e-3, clip=1.0),
    "elastic_zo": ElasticZO(5e-4, 1e-3, bp_lr=0.05, bp_layers=2, clip=1.0),
}
INTEGER_METHODS = {"elastic_zo_int8": ElasticZOInt8(15, 0.33, bp_layers=1, loss_sign="integer")}
float_method = pytest.mark.parametrize("optimizer", METHODS.values(), ids=METHODS.keys())
every_method = pytest.mark.parametrize(
    "optimizer", [*METHODS.values(), *INTEGER_METHODS.values()], ids=[*METHODS, *INTEGER_METHODS]
)


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in rows]


@every_method
def test_run_records_every_evaluation_and_a_summary(optimizer: Optimizer, tmp_path: Path) -> None:
    record = carry_out(task(optimizer), tmp_path / "run")
    rows = read_evals(tmp_path / "run")
    assert record.status == "finished"
    assert [row["step"] for row in rows] == [0, 6, 12, 18, 24]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[0]["train_loss"] is None
    assert rows[-1]["examples_seen"] == 24 * 16
    assert record.summary["final_accuracy"] == rows[-1]["test_accuracy"]
    assert record.summary["best_accuracy"] == max(row["test_accuracy"] for row in rows)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


def test_backpropagation_learns_through_the_loop(tmp_path: Path) -> None:
    record = carry_out(task(Backprop(3e-3, Adam()), epochs=20), tmp_path / "run")
    assert record.summary["final_accuracy"] > 0.9


@every_method
@pytest.mark.parametrize("at_row", [1, 2, 4])
def test_killed_run_continues_to_the_same_weights_and_rows(optimizer: Optimizer, at_row: int, tmp_path: Path) -> None:
    whole = carry_out(task(optimizer), tmp_path / "whole")
    with pytest.raises(Killed):
        carry_out(task(optimizer), tmp_path / "killed", KillingTracker(at_row))
    resumed = carry_out(task(optimizer), tmp_path / "killed")
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert without_seconds(read_evals(tmp_path / "killed")) == without_seconds(read_evals(tmp_path / "whole"))


@every_method
def test_interrupted_run_stops_between_steps_and_continues_to_the_same_weights(
    optimizer: Optimizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = carry_out(task(optimizer), tmp_path / "whole")
    monkeypatch.setattr(Interruption, "process_is_stopping", False)  # undone at the end: this process goes on
    stopped = carry_out(task(optimizer), tmp_path / "stopped", StoppingTracker(at_row=3))
    assert stopped.status == "interrupted"
    assert "run again to continue" in stopped.reason
    resumed = carry_out(task(optimizer), tmp_path / "stopped")
    assert resumed.status == "finished"
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]
    assert without_seconds(read_evals(tmp_path / "stopped")) == without_seconds(read_evals(tmp_path / "whole"))


class InsistingTracker(KillingTracker):
    """Sends the process two signals, one soon after the other, at the third evaluation row."""

    def __init__(self, *signals: signal.Signals) -> None:
        super().__init__(at_row=3)
        self.signals = signals

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        if self.rows == self.at_row:
            for each in self.signals:
                os.kill(os.getpid(), each)


@pytest.mark.parametrize(
    ("signals", "is_broken_off"),
    [
        ((signal.SIGTERM, signal.SIGTERM), False),  # as Slurm does when a job's time is over
        ((signal.SIGTERM, signal.SIGINT), True),
        ((signal.SIGINT, signal.SIGINT), True),
    ],
)
def test_a_second_signal_breaks_off_unless_a_scheduler_repeats_itself(
    signals: tuple[signal.Signals, ...], is_broken_off: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Interruption, "process_is_stopping", False)  # undone at the end: this process goes on
    with pytest.raises(KeyboardInterrupt) if is_broken_off else nullcontext():
        stopped = carry_out(task(METHODS["bp_sgd"]), tmp_path / "run", InsistingTracker(*signals))
        assert (stopped.status, "at step 12" in stopped.reason) == ("interrupted", True)


def test_process_told_to_stop_begins_no_further_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Interruption, "process_is_stopping", True)
    with pytest.raises(KeyboardInterrupt):
        session.carry_out({"experiment": "e", "paths": {"runs": str(tmp_path)}, "dataset": {}})
    assert list(tmp_path.iterdir()) == []


def test_over_budget_run_is_recorded_with_its_reason_and_trains_nothing(tmp_path: Path) -> None:
    tight = replace(task(Backprop(0.05, SGD()), batch_size=32), budget=MemoryBudget("tight", "5MiB"))
    record = carry_out(tight, tmp_path / "run")
    assert record.status == "over_budget"
    assert record.reason == "needs 5.231 MiB of 5 MiB (tight, all_buffers_live)"
    assert record.memory["analytic"]["total"] == 5485136
    assert read_evals(tmp_path / "run") == []


def test_largest_batch_fills_the_budget(tmp_path: Path) -> None:
    filled = replace(task(MeZO(1e-4, 1e-3), batch_size="largest", epochs=1), budget=MemoryBudget("b", "1.5MiB"))
    record = carry_out(filled, tmp_path / "run")
    assert record.memory["batch_size"] == 15  # 431,144 B of parameters and 72,232 B an image
    assert record.memory["analytic"]["total"] <= 1.5 * 2**20 < record.memory["analytic"]["total"] + 72_232


def test_measured_peak_above_the_budget_marks_the_run(tmp_path: Path) -> None:
    class Liar(MeZO):
        def memory(self, table, batch_size):  # type: ignore[no-untyped-def]
            return replace(super().memory(table, batch_size), activations=0)

    record = carry_out(replace(task(Liar(1e-4, 1e-3)), budget=MemoryBudget("b", "500KB")), tmp_path / "run")
    assert record.reason.startswith("measured peak needs")


def test_record_says_what_the_measured_peak_is_made_of_and_what_the_process_held(tmp_path: Path) -> None:
    carry_out(task(Backprop(1e-3, Adam()), epochs=1), tmp_path / "run")
    memory = json.loads((tmp_path / "run" / "run.json").read_text())["memory"]
    assert sum(memory["measured_peak_by_kind"].values()) == memory["measured_peak_bytes"]
    assert memory["process_peak_bytes"] > memory["measured_peak_bytes"]
    assert memory["process_peak_source"] in ("VmHWM", "ru_maxrss")


@float_method
def test_loss_that_is_not_finite_ends_the_run_as_diverged_at_its_step(optimizer: Optimizer, tmp_path: Path) -> None:
    broken = task(optimizer)
    with torch.no_grad():
        broken.model.fc3.bias[0] = float("nan")
    record = carry_out(broken, tmp_path / "run")
    assert record.status == "diverged"
    assert "loss is nan at step 0" in record.reason


def test_a_run_whose_last_step_leads_beyond_all_numbers_diverged_and_no_file_holds_a_nan(tmp_path: Path) -> None:
    record = carry_out(task(Backprop(1e38, SGD()), epochs=1, batch_size=96, evaluations=1), tmp_path / "run")
    assert record.status == "diverged"
    assert "test loss is not finite after step 0; lower the learning rate" in record.reason
    assert read_evals(tmp_path / "run")[-1]["test_loss"] is None
    for name in ("run.json", "evals.jsonl"):
        assert "NaN" not in (tmp_path / "run" / name).read_text()


def test_seconds_end_a_run_before_its_epochs_do(tmp_path: Path) -> None:
    record = carry_out(task(Backprop(0.01, SGD()), epochs=10_000, seconds=0.2, evaluations=4), tmp_path / "run")
    rows = read_evals(tmp_path / "run")
    assert record.status == "finished"
    assert rows[0]["train_seconds"] == 0
    assert rows[-1]["train_seconds"] >= 0.2
    assert record.evaluations["asked"] == 4
    assert record.evaluations["made"] == len(rows) - 1 <= 4
    assert rows[-1]["epoch"] < 10_000


def test_fraction_shortens_the_seconds_too() -> None:
    assert Training(epochs=1, seconds=20.0, fraction=0.1).most_seconds == 2.0


def test_fraction_compresses_schedules_with_the_run(tmp_path: Path) -> None:
    carry_out(task(Backprop(0.01, SGD()), epochs=8, fraction=0.5), tmp_path / "run")
    assert [row["epoch"] for row in read_evals(tmp_path / "run")] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "training.epochs=0"),
        ({"fraction": -1}, "training.fraction=-1"),
        ({"batch_size": "huge"}, "training.batch_size='huge'"),
        ({"batch_size": 0}, "training.batch_size=0"),
        ({"epochs": float("nan")}, "training.epochs=nan"),
        ({"seconds": 0}, "training.seconds=0 is no amount of training; write a number above 0, or null for no limit"),
        ({"seconds": -5}, "training.seconds=-5"),
        ({"evaluations": 2.5}, "training.evaluations=2.5 counts nothing; write a whole number from 1"),
        ({"evaluations": 0.5}, "training.evaluations=0.5"),
    ],
)
def test_impossible_training_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task(Backprop(0.01, SGD()), **options)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3])
def test_schedules_see_whole_epochs_as_whole_numbers(fraction: float, tmp_path: Path) -> None:
    """24.999999999999996 would hold a decay due at 25 back by a step."""
    carry_out(
        task(Backprop(0.0, SGD()), epochs=100, fraction=fraction, evaluations=10, batch_size=96), tmp_path / "run"
    )
    assert [row["epoch"] for row in read_evals(tmp_path / "run")] == [10.0 * i for i in range(11)]


def test_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batch_size=97 but bars has 96 training examples; choose 1–96"):
        carry_out(task(Backprop(0.01, SGD()), batch_size=97), tmp_path / "run")


def killed(folder: Path) -> Path:
    """The checkpoint of a run that was killed at its third row."""
    with pytest.raises(Killed):
        carry_out(task(Backprop(0.01, SGD())), folder, KillingTracker(at_row=3))
    return folder / "checkpoint.pt"


def flipped(content: bytes) -> bytes:
    """`content` with a bit of the largest weights changed, which PyTorch does not notice."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def as_before_there_were_seals(content: bytes) -> bytes:
    return content[content.index(b"PK") :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:100], "is damaged"),
        (lambda content: b"", "is damaged"),
        (flipped, "is damaged"),
        (lambda content: content.replace(b"position", b"positioN"), "is damaged"),
        (as_before_there_were_seals, "is of an earlier version, with no sha256 to trust it by"),
    ],
    ids=["cut", "empty", "flipped", "renamed", "unsealed"],
)
def test_a_checkpoint_that_is_not_as_it_was_written_is_refused_with_the_remedy(
    change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = killed(tmp_path / "run")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"checkpoint.pt {message}.*; delete it to start the run again from its beg"):
        carry_out(task(Backprop(0.01, SGD())), tmp_path / "run")


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    killed(tmp_path / "run")
    with pytest.raises(ValueError, match=r"checkpoint.pt is the checkpoint of the run k, not of other; delete it"):
        carry_out(task(Backprop(0.01, SGD())), tmp_path / "run", key="other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [], "has 0 of the 2"),
        (lambda rows: rows[1:], "was changed within the first 2"),
        (lambda rows: [rows[0], rows[1][:-1]], "has 1 of the 2"),
        (lambda rows: [b"{damaged\n", *rows[1:]], "was changed within the first 2"),
    ],
    ids=["emptied", "one deleted", "cut", "damaged"],
)
def test_evaluations_that_are_not_those_made_are_refused_and_the_file_stays(
    change: Callable[[list[bytes]], list[bytes]], message: str, tmp_path: Path
) -> None:
    killed(tmp_path / "run")
    path = tmp_path / "run" / "evals.jsonl"
    whole = path.read_bytes()
    changed = b"".join(change(whole.splitlines(keepends=True)))
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=f"evals.jsonl {message} evaluations that the run had made; put the file back"):
        carry_out(task(Backprop(0.01, SGD())), tmp_path / "run")
    assert path.read_bytes() == changed
    path.write_bytes(whole + b'{"cut short": ')
    assert carry_out(task(Backprop(0.01, SGD())), tmp_path / "run").status == "finished"


def test_evaluations_before_the_first_checkpoint_are_made_again_whatever_is_left_of_them(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        carry_out(task(Backprop(0.01, SGD())), tmp_path / "run", KillingTracker(at_row=1))
    (tmp_path / "run" / "evals.jsonl").write_bytes(b"\xff damaged\n")
    carry_out(task(Backprop(0.01, SGD())), tmp_path / "run")
    assert len(read_evals(tmp_path / "run")) == 5


@pytest.mark.parametrize("keep", ["weights", "losses"])
@pytest.mark.parametrize("stop", [StoppingTracker, KillingTracker])
def test_captured_runs_end_as_eager_ones_do_stopped_and_continued_or_not(
    stop: type[KillingTracker], keep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host stands in for graphs here."""
    monkeypatch.setattr(Interruption, "process_is_stopping", False)  # undone at the end: this process goes on
    eager = carry_out(task(METHODS["mezo"], keep=keep), tmp_path / "eager")
    with pytest.raises(Killed) if stop is KillingTracker else nullcontext():
        carry_out(task(METHODS["mezo"], keep=keep, capture="always"), tmp_path / "captured", stop(3))
    captured = carry_out(task(METHODS["mezo"], keep=keep, capture="always"), tmp_path / "captured")
    assert captured.execution == {"steps": "as captured, by the host"}
    assert captured.summary["weights_sha256"] == eager.summary["weights_sha256"]
    times = ("train_seconds", "train_cpu_seconds", "eval_seconds", "stopped_seconds")
    rows = [
        [{k: v for k, v in row.items() if k not in times} for row in read_evals(tmp_path / name)]
        for name in ("eager", "captured")
    ]
    assert rows[0] == rows[1]


def test_divergence_in_captured_steps_is_noticed_at_the_next_evaluation_and_names_its_step(tmp_path: Path) -> None:
    wild = MeZO(1e9, 1e-3)
    eager, captured = (
        carry_out(task(wild, evaluations=1, capture=capture), tmp_path / capture) for capture in ("never", "always")
    )
    assert (captured.status, captured.reason) == ("diverged", eager.reason)
    assert captured.summary["steps"] == eager.summary["steps"] < 24
