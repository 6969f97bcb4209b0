"""What a run leaves behind: `run.json` (what was run, where, how it ended) and `evals.jsonl` (one row per evaluation).

The run folder is the source of truth; every tracker mirrors it and every table is made from it.
Only the standard library is used here, so that analysis can read records without importing torch.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

SCHEMA = 2
PROTOCOL = 2  # the rules that runs are made under; runs of protocol 1 are told of in analysis/first_protocol.py
Status = Literal["running", "finished", "over_budget", "diverged", "failed", "interrupted"]
# A run that ended in one of these is not started again: running it once more would give the same answer.
FINAL: tuple[Status, ...] = ("finished", "over_budget", "diverged")
LOCK = ".lock"  # held by the process that makes the run
KILLED = "its process was killed; run again to continue"
EARLIER_SCHEMA, EARLIER = 1, "schema 1, whose settings had other names; read it by the commit that it names"
ANOTHER_PLACE = "leave it and keep your runs in another place by paths.runs=…"
ANEW = "delete the folder and run it anew"
OWN_FILES = ("path", "train", "validation", "test", "folder")  # settings of data sets that name files of the user's own
EVALS = "evals.jsonl"
DIGEST = "sha256"  # in run.json, of all else that it says


@dataclass
class RunRecord:
    """The content of `run.json`."""

    key: str
    experiment: str
    config: dict[str, Any]
    status: Status = "running"
    reason: str = ""
    started_at: str = ""
    commit: str = ""
    dirty: bool = False
    command: list[str] = field(default_factory=list)  # the words, after `run`, that make it again
    code_version: int = 0  # of the numerics, see `tightfit.numerics`
    own_code: dict[str, str] = field(default_factory=dict)  # sha256 of the file of each `_target_` from outside
    method: dict[str, Any] = field(default_factory=dict)  # what a step is made of, as the method itself says
    machine: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)  # which was trained, and why larger ones were not
    memory: dict[str, Any] = field(default_factory=dict)
    phase_seconds: dict[str, float] = field(default_factory=dict)
    execution: dict[str, Any] = field(default_factory=dict)  # whether steps were captured, or why not; runs stacked
    summary: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    protocol: int = PROTOCOL
    evaluations: dict[str, Any] = field(default_factory=dict)  # asked for, made, and the sha256 of their rows
    # One for each process that worked on the run, see `history.py`: the fields above say its beginning and the last.
    sessions: list[dict[str, Any]] = field(default_factory=list)


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace `path` by `content`; a reader or a crash sees the old file or the new one, never a part.

    Raises OSError (disk full, read-only folder) with the old file untouched.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o644)  # temporary files are their owner's alone, records are for all
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def naming(path: Path) -> Generator[None]:
    """An error of the disk inside names `path`: a failed write names no file, and others may name a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_run(folder: Path, record: RunRecord) -> None:
    """Write `run.json` of the run in `folder`, with the digest of what it says."""
    content = asdict(record)
    written = json.dumps({**content, DIGEST: digest(content)}, indent=1)
    write_atomically(folder / "run.json", written.encode() + b"\n")


def digest(content: Mapping[str, Any]) -> str:
    """sha256 of what a record says, however its file is laid out."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_run(folder: Path) -> RunRecord | None:
    """The record of the run in `folder`, or None where none was started.

    Raises ValueError when `run.json` is unreadable, damaged, or not of this program. A record of an earlier version has
    no digest to be trusted by, and is taken at its word.
    """
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); {ANOTHER_PLACE}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete the folder to run it again") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema == EARLIER_SCHEMA:
        raise ValueError(
            f"{path} is of schema 1, whose settings had other names; read it by {EARLIER}, or {ANOTHER_PLACE}"
        )
    if schema != SCHEMA:
        found = "no schema" if schema is None else f"schema {schema!r}"
        raise ValueError(f"{path} is no record of this program ({found}, not {SCHEMA}); {ANOTHER_PLACE}")
    written_with = content.pop(DIGEST, None)
    if wrong := damage(content, written_with):
        raise ValueError(f"{path} is damaged ({wrong}); delete the folder to run it again")
    return RunRecord(**content)


def damage(content: Mapping[str, Any], written_with: object = None) -> str:
    """What keeps `content` from being a record, in a few words; empty when it is one.

    written_with: its digest, where it has one.
    """
    if written_with not in (None, digest(content)):
        return "its sha256 is not the one it was written with"
    example = RunRecord(key="", experiment="", config={})
    for name in ("key", "experiment", "config"):
        if name not in content:
            return f"it has no {name}"
    for name, value in content.items():
        if name not in {field.name for field in fields(RunRecord)}:
            return f"{name} is nothing that it says"
        if not isinstance(value, type(getattr(example, name))):
            return f"its {name} is of another kind"
    return "" if content.get("status", "running") in get_args(Status) else f"its status is {content['status']!r}"


def check_key(record: RunRecord, folder: Path) -> None:
    """Raise ValueError when the record in `folder` is that of another run."""
    if record.key != folder.name:
        raise ValueError(
            f"{folder / 'run.json'} is the record of the run {record.key}, not of {folder.name}; put the file back, or "
            f"{ANEW}"
        )


def require(folder: Path, record: RunRecord, *names: str) -> None:
    """Raise ValueError unless the record of the run in `folder` has all of `names`, such as summary.steps."""
    for name in names:
        part, _, entry = name.partition(".")
        if entry not in getattr(record, part):
            raise ValueError(
                f"{folder / 'run.json'} lacks {name}; put the whole file back, or delete the folder and run it anew"
            )


def clear_temporaries(folder: Path, patterns: Sequence[str]) -> None:
    """Delete what killed processes left of files, by `patterns` of their names, that they were writing; none may be
    writing now."""
    for pattern in patterns:
        for left in folder.glob(f".{pattern}.????????"):  # as `write_atomically` names them
            left.unlink(missing_ok=True)


def read_standing(folder: Path) -> RunRecord | None:
    """As `read_run`, but a run whose process is gone is not running: it failed."""
    record = read_run(folder)
    if record is not None and record.status == "running" and not is_held(folder):
        record.status, record.reason = "failed", KILLED
    return record


def is_held(folder: Path) -> bool:
    """Whether a process is making the run in `folder`."""
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def rests_on_own_files(record: RunRecord, config: Mapping[str, Any]) -> bool:
    """Whether the data of `record`, or of `config` of the same key, are files of the user's own, which may change.

    All others are known by their sha256 and read only if they have it.
    """
    return any(
        described.get("dataset", {}).get(setting) for described in (record.config, config) for setting in OWN_FILES
    )


def append_csv(path: Path, rows: Sequence[Mapping[str, Any]], what: str) -> None:
    """Append `rows`, each `what` in words, to the CSV file at `path`.

    Raises ValueError when the file has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", newline="") as file:
        file.seek(0)
        columns = next(csv.reader(file), None)
        if columns not in (None, list(rows[0])):
            raise ValueError(f"{path} has other columns than {what} ({', '.join(rows[0])}); name another file")
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        if columns is None:
            writer.writeheader()
        writer.writerows(rows)


def read_evals(folder: Path) -> list[dict[str, Any]]:
    """The evaluation rows of the run in `folder`, in order; a last line cut short by a crash is left out.

    Raises ValueError when a row is damaged.
    """
    return evals_in(whole_lines(folder / EVALS), folder / EVALS)


def read_sealed_evals(folder: Path, seal: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As `read_evals`; raises ValueError too where they are not those of `seal`, as far as it tells."""
    lines = whole_lines(folder / EVALS)
    expected = {name: seal[name] for name in ("rows", "sha256") if name in seal}
    if expected and seal_of(lines) != expected:
        raise ValueError(
            f"{folder / EVALS} does not hold the {expected['rows']} evaluations that the run had made; put the file "
            f"back, or {ANEW}"
        )
    return evals_in(lines, folder / EVALS)


def evals_in(lines: Sequence[bytes], path: Path) -> list[dict[str, Any]]:
    """The rows in `lines` of `path`. All are read at once, and one by one where that fails, to name the line."""
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        rows = None
    if rows is None or len(rows) != len(lines) or not all(isinstance(row, dict) for row in rows):
        return [eval_in(line, path, number) for number, line in enumerate(lines, 1)]
    return rows


def eval_in(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{path} is damaged in line {number} ({error}); put the whole file back") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path} is damaged in line {number} (no evaluation); put the whole file back")
    return row


def whole_lines(path: Path) -> list[bytes]:
    """The lines in `path` that were written to their end; none where there is no file.

    Raises ValueError when it cannot be read.
    """
    if not path.exists():
        return []
    try:
        return [line + b"\n" for line in path.read_bytes().split(b"\n")[:-1]]
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); put the file back, or {ANEW}") from error


def append_eval(folder: Path, row: Mapping[str, Any]) -> None:
    """Add one evaluation row and force it to the disk."""
    with naming(folder / EVALS), (folder / EVALS).open("a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def seal_of_evals(folder: Path, most: int | None = None) -> dict[str, Any]:
    """How many rows the run in `folder` has, and their sha256; of its first `most` rows, where that is given."""
    return seal_of(whole_lines(folder / EVALS)[:most])


def seal_of(lines: Sequence[bytes]) -> dict[str, Any]:
    return {"rows": len(lines), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}


def keep_evals(folder: Path, seal: Mapping[str, Any], otherwise: str) -> None:
    """Drop the rows after those that `seal` is of: a run resumed from a checkpoint writes them again.

    Raises ValueError, which ends in `otherwise`, when the rows are not those of the seal; then none is dropped.
    """
    path, rows = folder / EVALS, seal["rows"]
    if seal_of_evals(folder, rows) != seal:
        have = len(whole_lines(path))
        found = f"has {have} of the {rows}" if have < rows else f"was changed within the first {rows}"
        raise ValueError(f"{path} {found} evaluations that the run had made; put the file back, or {otherwise}")
    write_atomically(path, b"".join(whole_lines(path)[:rows]))
