"""One fault: it strikes, what it leaves is looked at, the run is completed, and compared with its twin."""

from __future__ import annotations

import errno
import random
import re
import shutil
import signal
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.load import load_runs
from tests.torture.children import STUCK, Child, Ended, making
from tests.torture.faults import Fault
from tests.torture.injection import Blows, Disk, Jumps, Moments, Strike
from tests.torture.methods import METHODS, described
from tests.torture.twins import Twin, Twins, differences, fault_of_remains
from tightfit.commands import DONE, FAILED
from tightfit.launch.workers import Workers
from tightfit.records.record import EVALS, LOCK, read_run
from tightfit.run.attempt import record_loss
from tightfit.run.checkpoint import REPLAY_LOG, WEIGHTS
from tightfit.run.gain import trained
from tightfit.run.keys import run_folder
from tightfit.run.replay import rebuild
from tightfit.run.session import build_task

SEEDS_OF_SWEEP = (0, 1, 2)
REMEDY = re.compile(r"\bdelete\b|\bput .* back\b|\bleave it\b|\brun again\b|\bchoose\b|\bcheck that\b")


class Wrong(Exception):
    """The run does not do what it should, for the reason that this says."""


@dataclass(frozen=True)
class Trial:
    """A fault and the place for its files."""

    fault: Fault
    place: Path
    twins: Twins
    blows: list[Blows] = field(default_factory=list)

    def outcome(self) -> tuple[str, str]:
        """How it went, and why where that is not well: the same, refused (and the same by the remedy), or wrong."""
        try:
            return getattr(self, self.fault.kind.replace(" ", "_"))()
        except Wrong as error:
            return "wrong", str(error)

    @property
    def times_struck(self) -> int:
        """How many signals came, or whether the disk failed or a file was damaged."""
        return sum(each.number for each in self.blows)

    @property
    def config(self) -> dict[str, Any]:
        return described(self.fault.method, self.place / "runs")

    @property
    def folder(self) -> Path:
        return run_folder(self.config)

    @property
    def twin(self) -> Twin:
        return self.twins.of(self.fault.method)

    def strike(self, phase: str, moment: float, number: str, later: int = 0) -> Strike:
        count = self.twin.moments[phase]
        return Strike(phase, 1 + int(moment * count) + later, signal.Signals[number])

    def child(self, *injected: Any) -> Child:
        self.blows.extend(each.blows for each in injected if not isinstance(each, Jumps))
        return Child(making(self.config, injected), self.place / "said")

    def kill(self) -> tuple[str, str]:
        fault = self.fault
        self.struck(self.child(Moments([self.strike(fault.phase, fault.moment, fault.how["signal"])])))
        return self.completed()

    def kill_twice(self) -> tuple[str, str]:
        fault = self.fault
        self.struck(self.child(Moments([self.strike(fault.phase, fault.moment, fault.how["signal"])])))
        self.struck(self.child(Moments([self.strike(fault.how["in"], fault.how["again"], fault.how["then"])])))
        return self.completed()

    def insist(self) -> tuple[str, str]:
        """A second signal soon after the first."""
        fault, number = self.fault, self.fault.how["signal"]
        first = self.strike(fault.phase, fault.moment, number)
        second = Strike(fault.phase, first.n + fault.how["after"], first.signal)
        self.struck(self.child(Moments([first, second])))
        return self.completed()

    def disk(self, lasting: bool = False) -> tuple[str, str]:
        n = 1 + int(self.fault.moment * self.twin.disk_operations)
        error = getattr(errno, self.fault.how["error"])
        ended = self.struck(self.child(Disk(self.place / "runs", n, error, lasting)))
        if ended.code > 0:
            self.check_refusal(ended, self.place / "runs")
        return self.completed()

    def full_disk(self) -> tuple[str, str]:
        return self.disk(lasting=True)

    def clock(self) -> tuple[str, str]:
        """The time of day jumps in a session that is killed, and further in the one that completes it."""
        fault, readings = self.fault, self.twin.clock_readings
        jumps = Jumps(1 + int(fault.moment * readings), fault.how["seconds"])
        self.struck(self.child(jumps, Moments([self.strike(fault.phase, fault.moment, "SIGKILL")])))
        return self.completed(Jumps(1, 2 * fault.how["seconds"]))

    def two_processes(self) -> tuple[str, str]:
        """At once, and one is killed: the other makes the run, or goes on with it."""
        fault = self.fault
        first = self.child(Moments([self.strike(fault.phase, fault.moment, fault.how["signal"])]))
        second = Child(making(self.config), self.place / "said by the second")
        self.struck(first)
        if (ended := second.join()).code != DONE:
            raise Wrong(f"the second process ended with {ended.code}: {ended.refusal}")
        return self.completed()

    def sweep(self) -> tuple[str, str]:
        """One of two workers is killed, or told to stop, at one of three runs."""
        fault = self.fault
        struck = Moments([self.strike(fault.phase, fault.moment, fault.how["signal"])])
        self.blows.append(struck.blows)
        configs = [described(fault.method, self.place / "runs", seed) for seed in SEEDS_OF_SWEEP]

        def make(job: int) -> str:
            return (making(configs[job], [struck] if job == 1 else [])() and "failed") or "done"

        def sweep() -> int:
            return all(Workers(make, lambda job, code: record_loss(configs[job], code).status, 2).carry_out(3))

        self.struck(Child(lambda: DONE if sweep() else FAILED, self.place / "said"))
        for seed in SEEDS_OF_SWEEP:
            ended = Child(making(configs[seed]), self.place / "said").join()
            self.same(ended, run_folder(configs[seed]), self.twins.of(fault.method, seed))
        return "same", ""

    def damage_stopped(self) -> tuple[str, str]:
        """A file of a run that was killed is no more what it was."""
        shutil.copytree(self.twin.stopped, self.folder)
        path = self.damage()
        return self.completed_or_refused(path)

    def damage_finished(self) -> tuple[str, str]:
        """A file of a finished run is no more what it was: who reads it must say so."""
        shutil.copytree(self.twin.folder, self.folder)
        path = self.damage()
        if path.name == EVALS or path.name == "run.json":
            ended = Child(lambda: self.reads_record(), self.place / "said").join()
        else:
            ended = Child(lambda: self.reads_weights(), self.place / "said").join()
        if ended.code == DONE:
            if path.name == WEIGHTS and self.fault.phase == "delete" and (self.folder / REPLAY_LOG).exists():
                return "same", ""  # rebuilt from the losses, which is refused unless the digest is that on record
            changed = differences(self.folder, self.twin)
            if not changed:
                return "same", ""
            if path.name == LOCK:
                return "same", ""
            raise Wrong(f"{path.name} is read as if nothing were wrong with it ({changed})")
        self.check_refusal(ended, path)
        return self.remedied(ended, path)

    def reads_record(self) -> int:
        """As tables and `tightfit run` do."""
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            load_runs(self.place / "runs", "scratch")
        if left_out := [str(each.message) for each in told if "is left out" in str(each.message)]:
            print(left_out[0], file=sys.stderr)
            return FAILED
        return making(self.config)()

    def reads_weights(self) -> int:
        """As `tightfit gain` and `tightfit replay` do."""
        if (code := making(self.config)()) != DONE:
            return code
        record = read_run(self.folder)
        assert record is not None
        task = build_task(record.config, record)
        if (self.twin.folder / REPLAY_LOG).exists() and not self.damaged_is(WEIGHTS):
            rebuild(self.folder)
        else:
            trained(task.model, self.folder, record)
        return DONE

    def damaged_is(self, name: str) -> bool:
        return self.target().name == name

    def target(self) -> Path:
        """The file that is damaged."""
        undamaged = self.twin.stopped if "stopped" in self.fault.kind else self.twin.folder
        names = sorted(path.name for path in undamaged.iterdir() if path.name == LOCK or path.name[0] != ".")
        return self.folder / names[int(self.fault.how["file"] * len(names))]

    def damage(self) -> Path:
        path, chance = self.target(), random.Random(f"{self.fault.seed} {self.fault.index} damage")
        content = bytearray(path.read_bytes())
        at = min(int(self.fault.moment * len(content)), max(len(content) - 1, 0))
        match self.fault.phase:
            case "truncate":
                content = content[:at]
            case "flip" if content:
                content[at] ^= 1 << self.fault.how["bit"]
            case "empty":
                content.clear()
            case "garbage":
                content[:] = chance.randbytes(len(content))
            case "other run":
                others = [name for name in METHODS if name != self.fault.method]
                other = self.twins.of(chance.choice(others))
                theirs = (other.stopped if "stopped" in self.fault.kind else other.folder) / path.name
                content[:] = theirs.read_bytes() if theirs.exists() else b""
        path.unlink()
        if self.fault.phase == "folder":
            path.mkdir()
        elif self.fault.phase != "delete":
            path.write_bytes(content)
        self.blows.append(Blows())
        self.blows[-1].add()
        return path

    def struck(self, child: Child) -> Ended:
        """The end of a process that the fault was injected into."""
        ended = self.plainly(child)
        if self.folder.exists() and (fault := fault_of_remains(self.folder)):
            raise Wrong(fault)
        return ended

    def plainly(self, child: Child) -> Ended:
        """The end of a process, if it was neither stuck nor with a trace."""
        ended = child.join()
        if ended.code == STUCK:
            raise Wrong("the process was stuck")
        if "Traceback" in ended.said:
            raise Wrong(f"a trace: {ended.refusal}")
        return ended

    def completed(self, *injected: Any) -> tuple[str, str]:
        self.same(self.plainly(self.child(*injected)), self.folder, self.twin)
        return "same", ""

    def same(self, ended: Ended, folder: Path, twin: Twin) -> None:
        """Raises Wrong unless the process completed the run, as its twin is."""
        if ended.code != DONE:
            raise Wrong(f"it cannot be completed: {ended.refusal}")
        record_was_deleted = self.fault.phase == "delete" and self.target().name == "run.json"
        if found := differences(folder, twin, knows_sessions=not record_was_deleted):
            raise Wrong(f"other than its twin: {found}")

    def completed_or_refused(self, path: Path) -> tuple[str, str]:
        ended = self.plainly(self.child())
        if ended.code == DONE:
            self.same(ended, self.folder, self.twin)
            return "same", ""
        self.check_refusal(ended, path)
        return self.remedied(ended, path)

    def check_refusal(self, ended: Ended, path: Path) -> None:
        """Raises Wrong unless the process refused in a line that names `path` and a remedy."""
        if ended.code == STUCK or "Traceback" in ended.said:
            raise Wrong(f"a trace: {ended.refusal}")
        named = path.parent.name if path.name == LOCK else path.name
        if named not in ended.refusal:
            raise Wrong(f"the refusal does not name {path.name}: {ended.refusal}")
        if not REMEDY.search(ended.refusal):
            raise Wrong(f"the refusal names no remedy: {ended.refusal}")

    def remedied(self, ended: Ended, path: Path) -> tuple[str, str]:
        """Do as the refusal says; then the run is as its twin."""
        if "delete the folder" in ended.refusal:
            shutil.rmtree(self.folder)
        elif "delete" in ended.refusal:
            named = re.search(r"delete (\S+\.\S+)", ended.refusal)
            target = self.folder / Path(named[1]).name if named else path
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        else:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            original = self.twin.stopped if "stopped" in self.fault.kind else self.twin.folder
            shutil.copy(original / path.name, path)
        self.completed()
        return "refused", ended.refusal.replace(str(self.folder), "…")
