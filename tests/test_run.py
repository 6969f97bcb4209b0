"""The command line as a user meets it: compositions, sweeps, bad input, kills."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.planted import SECRETS, leaks
from tightfit.records.places import HOME as ROOT
from tightfit.records.record import read_evals, read_run

pytestmark = pytest.mark.slow  # each test starts Python and imports torch once or more
BARS = ["dataset._target_=tests.synthetic.bars", "tracker=local"]


def environment(runs: Path) -> dict[str, str]:
    settings = {"TIGHTFIT_RUNS": str(runs), "PYTHONPATH": f"{ROOT}/src:{ROOT}", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **SECRETS, **settings}


def tightfit(runs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tightfit.run", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(runs), capture_output=True, text=True, timeout=120)


def folders(runs: Path) -> list[Path]:
    return sorted(path.parent for path in runs.rglob("run.json"))


def test_a_composition_runs_and_is_recorded(tmp_path: Path) -> None:
    arguments = ["optimizer=mezo", "model=lenet5", "dataset=fashion_mnist", "memory_budget=rpi_zero2_512mb", "seed=3"]
    done = tightfit(tmp_path, *arguments, "profile=smoke", *BARS)
    assert done.returncode == 0, done.stderr
    (folder,) = folders(tmp_path)
    record = read_run(folder)
    assert record is not None
    assert record.status == "finished"
    assert record.config["seed"] == 3
    assert record.memory["budget_bytes"] == 512 * 2**20
    assert record.machine["threads"] == 1
    assert leaks(tmp_path) == []


def test_the_command_on_record_names_the_run_which_is_not_made_again(tmp_path: Path) -> None:
    sweep = tightfit(tmp_path, "-m", "optimizer=bp_sgd", "seed=0", "profile=smoke", *BARS)
    assert sweep.returncode == 0, sweep.stderr
    (folder,) = folders(tmp_path)
    before = (folder / "run.json").stat().st_mtime_ns
    record = read_run(folder)
    assert record is not None
    again = tightfit(tmp_path, *record.command)
    assert "already finished" in again.stdout
    assert (folder / "run.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("launcher", ["basic", "all_cores", "stacked"])
def test_a_sweep_runs_every_combination(launcher: str, tmp_path: Path) -> None:
    sweep = ["-m", "optimizer=bp_sgd,mezo", "seed=0,1", "profile=smoke", f"hydra/launcher={launcher}"]
    done = tightfit(tmp_path, *sweep, *BARS)
    assert done.returncode == 0, done.stderr
    records = [read_run(folder) for folder in folders(tmp_path)]
    assert {(r.config["optimizer"]["name"], r.config["seed"], r.status) for r in records if r} == {
        (name, seed, "finished") for name in ("bp_sgd", "mezo") for seed in (0, 1)
    }


@pytest.mark.parametrize("launcher", ["basic", "all_cores", "stacked"])
def test_a_run_that_fails_leaves_the_rest_of_the_sweep_alone_and_fails_the_command(
    launcher: str, tmp_path: Path
) -> None:
    sweep = ["-m", "optimizer=elastic_zo", "optimizer.bp_layers=9,1", "profile=smoke"]
    done = tightfit(tmp_path, *sweep, f"hydra/launcher={launcher}", *BARS)
    assert done.returncode == 1
    assert "bp_layers=9 but LeNet5 has 5 layers" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    records = [read_run(folder) for folder in folders(tmp_path)]
    assert sorted(record.status for record in records if record) == ["failed", "finished"]


def test_a_killed_run_of_a_sweep_is_named_and_recorded_and_the_others_are_made(tmp_path: Path) -> None:
    model = ["model._target_=tests.killing.deadly", "+model.deadly_seed=1"]
    sweep = ["-m", "optimizer=bp_sgd", "seed=0,1,2,3,4", "profile=smoke", "hydra/launcher=all_cores"]
    done = tightfit(tmp_path, *sweep, *model, *BARS)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    reason = "its process was killed (signal 9), perhaps for memory; run again to continue"
    label = r"bp_sgd lr=[\d.e-]+ · mnist · seed 1"
    assert re.search(rf"\[{label}\] failed: {re.escape(reason)}\n", done.stdout)
    assert re.search(rf"{label}: {re.escape(reason)}\n", done.stderr)
    records = [record for folder in folders(tmp_path) if (record := read_run(folder))]
    ends = {record.config["seed"]: (record.status, record.reason) for record in records}
    assert ends == {**dict.fromkeys((0, 2, 3, 4), ("finished", "")), 1: ("failed", reason)}


def test_ctrl_c_in_a_sweep_records_its_runs_as_interrupted_and_starts_no_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tightfit.run", "-m", *LONG, "seed=0,1,2", "hydra/launcher=all_cores"]
    process = subprocess.Popen(
        [*command, "hydra.launcher.n_jobs=2"],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(found := folders(tmp_path)) < 2 or not all(read_evals(folder)[1:] for folder in found):
        assert process.poll() is None
        time.sleep(0.02)
    for _ in range(2):  # the terminal's, and that of `reproduce`
        os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in output + errors
    reasons = [record.reason for folder in folders(tmp_path) if (record := read_run(folder))]
    assert len(reasons) == 2
    assert all(re.fullmatch(r"stopped on request at step \d+ of \d+; run again to continue", r) for r in reasons)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer=sgdd"], "Could not find 'optimizer/sgdd'"),
        (["optimizer=elastic_zo", "optimizer.bp_layers=6", *BARS], "bp_layers=6 but LeNet5 has 5 layers with weights"),
        (["-m", "seed=0,1", "threads=0", "hydra/launcher=all_cores", *BARS], "threads=0 is no whole number from 1"),
        (["-m", "seed=0", "hydra/launcher=all_cores", "hydra.launcher.n_jobs=0"], "n_jobs=0 but runs go side by side"),
        (["-m", "optimizer=sgdd,mezo", "hydra/launcher=all_cores", *BARS], "Could not find 'optimizer/sgdd'"),
    ],
)
def test_bad_input_gets_one_clear_message(arguments: list[str], message: str, tmp_path: Path) -> None:
    """Of a process of its own; `tests/bad_input` has all the other cases."""
    done = tightfit(tmp_path, *arguments, "profile=smoke")
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_diverged_run_is_a_result_that_names_its_step(tmp_path: Path) -> None:
    done = tightfit(tmp_path, "optimizer=bp_sgd", "optimizer.lr=1e30", "profile=smoke", *BARS)
    assert done.returncode == 0
    assert re.search(r"diverged: loss is (nan|inf) at step \d+", done.stdout)


LONG = ["optimizer=bp_sgd", "profile=smoke", "training.epochs=3000", "training.evaluations=40", *BARS]


def start(runs: Path) -> tuple[subprocess.Popen[str], Path]:
    """A run of a few seconds, once it has written some rows."""
    command = [sys.executable, "-m", "tightfit.run", *LONG]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(runs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (found := folders(runs)) or len(read_evals(found[0])) < 4:
        assert process.poll() is None
        time.sleep(0.02)
    return process, found[0]


def final_weights(folder: Path) -> str:
    return json.loads((folder / "run.json").read_text())["summary"]["weights_sha256"]


def test_killed_and_interrupted_runs_end_in_the_weights_of_the_uninterrupted_one(tmp_path: Path) -> None:
    tightfit(tmp_path / "whole", *LONG)
    (whole,) = folders(tmp_path / "whole")

    process, folder = start(tmp_path / "killed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_run(folder).status == "running"  # type: ignore[union-attr]
    tightfit(tmp_path / "killed", *LONG)
    assert final_weights(folder) == final_weights(whole)

    process, folder = start(tmp_path / "stopped")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate()
    assert read_run(folder).status == "interrupted"  # type: ignore[union-attr]
    assert process.returncode == 130
    assert "Traceback" not in output + errors
    tightfit(tmp_path / "stopped", *LONG)
    assert final_weights(folder) == final_weights(whole)
    rows = [(row["step"], row["test_loss"]) for row in read_evals(folder)]
    assert rows == [(row["step"], row["test_loss"]) for row in read_evals(whole)]
