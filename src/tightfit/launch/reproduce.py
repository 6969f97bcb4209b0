"""Run experiments from start to table: `tightfit reproduce elasticzo/table1 profile=short`.

Says how long it will take on this machine (from a few measured steps), runs what is missing on all cores with a
progress display, and prints the table. Several experiments are run one after another; columns of one table come out
together. Interrupt it at any moment and run it again: it continues.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from tightfit.commands import INTERRUPTED, WRONG_WORDS, carry_out
from tightfit.commands.verbs import REPRODUCE
from tightfit.commands.words import Said, nearest
from tightfit.launch.combinations import combinations, parsed
from tightfit.records.places import CONF, analysis
from tightfit.records.record import FINAL, read_evals, read_run, read_standing, rests_on_own_files
from tightfit.run.configuration import cores_for, with_new_settings
from tightfit.run.keys import run_folder
from tightfit.run.profiles import with_profile
from tightfit.run.spellings import in_todays_words
from tightfit.tracking.tracker import ArtifactKind, Tracker

POLL_SECONDS = 0.5
HERE = "all_cores"
# What a launcher calls the runs that it makes at a time; others find that out themselves.
AT_A_TIME = {HERE: "n_jobs", "slurm": "array_parallelism"}
ARTIFACT_KINDS: dict[ArtifactKind, tuple[str, ...]] = {"table": (".csv", ".md"), "figure": (".png", ".svg")}


@dataclass(frozen=True)
class Planned:
    """One run of the experiment."""

    config: dict[str, Any]
    folder: Path

    @property
    def label(self) -> str:
        cell = self.config["cell"] or {}
        return " · ".join([*(str(value) for value in cell.values()), f"seed {self.config['seed']}"])

    def ended(self) -> bool:
        record = read_run(self.folder)
        return record is not None and record.status in FINAL


def main(words: Sequence[str]) -> int:
    return carry_out(REPRODUCE, words, reproduce)


def reproduce(said: Said) -> int:
    """Run and show the experiments that were said; the exit code."""
    console = Console()
    try:
        overrides = in_todays_words(said.of_a_run)
        plans = {name: plan(in_todays_words([f"experiments={name}", *overrides])) for name in said.named}
        runs = [run for planned in plans.values() for run in planned]
        check(runs)
        for name, planned in plans.items():
            console.print(summary(name, planned), markup=False, highlight=False, soft_wrap=True)
        launcher, jobs = said.settings["launcher"], said.settings["jobs"]
        check_launcher(launcher)
        if launcher == HERE:
            jobs = jobs or cores_for(runs[0].config["threads"])
        announce(console, runs, jobs)
    except (HydraException, ValueError, OSError) as error:
        console.print(in_a_line(str(error)), style="red", markup=False, highlight=False, soft_wrap=True)
        return WRONG_WORDS
    code = run_missing(console, plans, overrides, launched(launcher, jobs))
    conclude(console, runs)
    return code


def check_launcher(name: str) -> None:
    """Raise ValueError unless there is a launcher called `name`."""
    known = sorted(path.stem for path in (CONF / "hydra" / "launcher").glob("*.yaml"))
    if name not in known:
        raise ValueError(f"launcher={name} is none; {nearest(name, known)}choose {', '.join(known)}")


def launched(launcher: str, jobs: int | None) -> list[str]:
    """The words by which a sweep is made `jobs` runs at a time, or as many as the launcher takes by itself."""
    at_a_time = AT_A_TIME.get(launcher)
    return [f"hydra/launcher={launcher}", *([f"hydra.launcher.{at_a_time}={jobs}"] if at_a_time and jobs else [])]


def run_missing(
    console: Console, plans: dict[str, list[Planned]], overrides: Sequence[str], launcher: Sequence[str]
) -> int:
    """Run what has not ended, experiment by experiment; the exit code: 0 unless a run failed or all were stopped.

    launcher: the words that say how.
    """
    code = 0
    for name, planned in plans.items():
        missing = [run for run in planned if not run.ended()]
        if missing and code != INTERRUPTED:
            code = sweep(console, [f"experiments={name}", *overrides, *launcher], missing) or code
    return code


def plan(overrides: Sequence[str]) -> list[Planned]:
    """Every run of the sweep that `overrides` describe, in the order Hydra will start them.

    Raises HydraException for names that do not exist, ValueError for a profile or a row that does not.
    """
    overrides = with_new_settings(with_profile(overrides))
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        fixed = [str(override.input_line) for override in parsed(overrides) if not override.is_sweep_override()]
        sweeper = compose("config", overrides=fixed, return_hydra_config=True).hydra.sweeper
        swept = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
        configs = combinations(parsed([*swept, *overrides]))
    return [Planned(config, run_folder(config)) for config in configs]


def summary(name: str, planned: Sequence[Planned]) -> str:
    """What `planned`, the runs of the experiment called `name`, will train, in a line."""
    cells = [run.config["cell"] or {} for run in planned]
    told = {
        "rows": [cell.get("row") for cell in cells],
        "columns": [cell.get("column") for cell in cells],
        "seeds": [run.config["seed"] for run in planned],
        "profile": [run.config["profile"] for run in planned],
    }
    texts = [f"{what} {', '.join(map(str, dict.fromkeys(values)))}" for what, values in told.items()]
    return f"{name}: {len(planned)} run{'s' if len(planned) > 1 else ''}; {'; '.join(texts)}"


def in_a_line(message: str) -> str:
    """The first line of `message` and, where Hydra lists them further down, the options there are to choose from."""
    first, *rest = message.splitlines()
    options = [line.strip() for line in rest if line.startswith("\t") and "provider=" not in line]
    return f"{first}; choose one of {', '.join(options)}" if options else first


def check(runs: Sequence[Planned]) -> None:
    """Raise ValueError where a run is told impossible things, or where its record is damaged or on other data than
    there are now, OSError where none can be written."""
    for run in runs:
        record = read_run(run.folder)
        if record is None or record.status not in FINAL:
            from tightfit.run.parts import check_parts  # imports torch

            check_parts(run.config)
        if record is not None and rests_on_own_files(record, run.config):
            from tightfit.run.trust import check_data  # imports torch

            check_data(run.config, record, run.folder)
        run.folder.parent.mkdir(parents=True, exist_ok=True)


def announce(console: Console, runs: Sequence[Planned], jobs: int | None) -> None:
    """Say what will be run and how long it will take, from a few steps of each kind of run, measured here.

    jobs: runs at a time; None where only who makes them knows.

    Raises ValueError for values that only show to be impossible when a run is assembled.
    """
    missing = [run for run in runs if not run.ended()]
    if not missing:
        return
    from tightfit.run.estimate import estimated  # imports torch: not needed when nothing is missing

    console.print(f"{len(runs)} runs, {len(runs) - len(missing)} already ended; measuring a few steps of the others …")
    estimate = estimated([(run.folder, run.config) for run in missing])
    side_by_side = f"with {jobs} runs side by side" if jobs else "in all, one after another"
    expected = f"about [bold]{duration(estimate.seconds / (jobs or 1))}[/bold] {side_by_side}"
    console.print(f"Expected duration on this machine: {expected if estimate.kinds else 'not known'}.")
    console.print(f"({estimate.basis})", markup=False, highlight=False, soft_wrap=True)


def sweep(console: Console, overrides: Sequence[str], missing: Sequence[Planned]) -> int:
    """Run the Hydra multirun in a process of its own while showing where each run stands; its exit code, which is not
    0 where a run failed."""
    log = missing[0].folder.parent / "sweep.log"
    command = [sys.executable, "-m", "tightfit", "run", "-m", *overrides]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            watch(console, process, missing)
        except KeyboardInterrupt:
            console.print("Stopping at the next step; run the same command again to continue.")
            process.send_signal(signal.SIGINT)
            process.wait()
            return INTERRUPTED
    if process.returncode:
        console.print(log.read_text()[-3000:], markup=False, highlight=False)
    return process.returncode


def watch(console: Console, process: subprocess.Popen[bytes], missing: Sequence[Planned]) -> None:
    """Show a bar per run until `process` ends; without a terminal, a line per run that ended."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%  {task.fields[now]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        whole = progress.add_task("all runs", total=len(missing), now="")
        bars = [progress.add_task(run.label, total=1.0, now="waiting") for run in missing]
        started = time.monotonic()
        told: set[Path] = set()
        while True:
            alive = process.poll() is None
            standings = [standing(run) for run in missing]
            for bar, (done, now) in zip(bars, standings, strict=True):
                progress.update(bar, completed=done, now=now)
            share = sum(done for done, _ in standings) / len(missing)
            progress.update(whole, completed=share * len(missing), now=time_left(time.monotonic() - started, share))
            for run in missing:
                if not console.is_terminal and run.folder not in told and run.ended():
                    told.add(run.folder)
                    console.print(f"{run.label}: {standing(run)[1]}", markup=False, highlight=False)
            if not alive:
                return
            time.sleep(POLL_SECONDS)


def standing(run: Planned) -> tuple[float, str]:
    """The part of `run` that is done, and how it stands in words."""
    record, rows = read_standing(run.folder), read_evals(run.folder)
    if record is None:
        return 0.0, "waiting"
    if record.status not in ("running", "finished"):
        return 1.0 if run.ended() else 0.0, f"{record.status}: {record.reason}"
    if not rows:
        return 0.0, "starting"
    last = rows[-1]
    accuracy = last[f"{record.dataset['scored']}_accuracy"]
    return last["done"], f"accuracy {accuracy:.2%} after {last['train_seconds']:.0f} s of training"


def time_left(elapsed: float, share: float) -> str:
    return f"about {duration(elapsed / share - elapsed)} left" if 0 < share < 1 else ""


def duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def conclude(console: Console, runs: Sequence[Planned]) -> None:
    """Print each experiment's table, write tables and figures beside the runs, and log them to the tracker."""
    config = runs[0].config
    folder = Path(config["paths"]["runs"])
    tracker: Tracker = instantiate(config["tracker"])
    for run in runs:
        record = read_run(run.folder)
        if record is not None and record.status in FINAL:
            tracker.complete(record, run.folder)
    for experiment in dict.fromkeys(run.config["experiment"] for run in runs):
        files = analysis("figures").report_experiment(experiment, config["profile"], folder, out=folder / "report")
        for path in files:
            console.print(str(path), markup=False, highlight=False, soft_wrap=True)
        for kind, suffixes in ARTIFACT_KINDS.items():
            tracker.log_artifacts(
                f"{experiment}-{kind}s", [f for f in files if f.suffix in suffixes], kind, folder / "report"
            )
