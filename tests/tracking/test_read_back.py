"""Runs read from their folders, from committed records, from offline W&B files and from W&B give the same cells."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.collect import collect
from analysis.load import Records, load_results, load_runs
from analysis.report import answer, own
from tests.analysis.miniature import make_run
from tests.tracking.conftest import read_log
from tests.tracking.stand_in import PROJECT, Server, standing_in
from tightfit.launch.source import read_from
from tightfit.records.record import append_eval, read_evals, read_run, seal_of_evals, write_run
from tightfit.tracking.read_back import Held, read_files
from tightfit.tracking.wandb import WandbTracker

EXPERIMENT = "elasticzo/budgets"
MIB = 2**20
COMMITTED_DIGITS = 6  # of a loss in committed records; elsewhere all are kept


def mirror(tracker: WandbTracker, folder: Path, settle: Any) -> None:
    """Tell W&B of the run in `folder`; of one with several evaluations in two files, as after a kill."""
    record, rows = read_run(folder), read_evals(folder)
    assert record is not None
    ended = record.status, record.reason, record.summary
    record.status, record.reason, record.summary = "running", "", {}
    tracker.start(record, folder, None)
    for row in rows[:2]:
        tracker.log(row)
    if len(rows) > 2:
        settle(tracker)
        tracker.start(record, folder, rows[1]["step"])
        for row in rows[2:]:
            tracker.log(row)
    record.status, record.reason, record.summary = ended
    tracker.finish(record)


def make_runs(folder: Path) -> None:
    for seed in (0, 1):
        settings = {"seed": seed, "budget": 3 * MIB // 2, "optimizer": {"name": "mezo", "lr": 1.0, "eps": 1e-3}}
        make_run(folder, EXPERIMENT, "full_zo", "1.5MiB", [0.1, 0.5, 0.91 - 0.01 * seed], batch_size=15, **settings)
    make_run(folder, EXPERIMENT, "full_bp_adam", "1.5MiB", status="over_budget", reason="needs 4 MiB", budget=MIB)
    reason = "loss is nan at step 100"
    diverged = make_run(folder, EXPERIMENT, "full_zo", "3MiB", [0.1], status="diverged", reason=reason, budget=3 * MIB)
    append_eval(diverged, {**read_evals(diverged)[0], "step": 100, "train_loss": math.nan, "test_loss": math.inf})
    for path in folder.rglob("run.json"):
        record = read_run(path.parent)
        assert record is not None
        record.summary |= {
            name: read_evals(path.parent)[-1][name]
            for name in ("forward_passes", "backward_passes")
            if read_evals(path.parent)
        }
        record.evaluations = seal_of_evals(path.parent)
        record.sessions = [
            {"commit": "a" * 40, "dirty": False, "machine": record.machine, "from_step": 0, "to_step": 9}
        ]
        write_run(path.parent, record)


@pytest.fixture(scope="module")
def server(kept_files: Path) -> Iterator[Server]:
    files = [read_log(path) for path in sorted(kept_files.rglob("*.wandb"), key=lambda path: path.parent.name)]
    with standing_in(files) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("WANDB_API_KEY", f"local-{'0' * 40}")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_CACHE_DIR", str(kept_files / "cache"))
        patch.setenv("WANDB_SILENT", "true")
        yield server


@pytest.fixture(scope="module")
def folders(tmp_path_factory: Any, settle: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("runs")
    make_runs(folder)
    tracker = WandbTracker(mode="offline")
    for path in sorted(folder.rglob("run.json")):
        mirror(tracker, path.parent, settle)
    (folder / "table.csv").write_text("row,accuracy\nfull_zo,89.8\n")
    tracker.log_artifacts(EXPERIMENT, [folder / "table.csv"], "table", folder / "report")
    settle(tracker)
    return folder


@pytest.fixture(scope="module")
def kept_files(folders: Path, tmp_path_factory: Any) -> Path:
    """The W&B files alone, away from the run folders."""
    files: Path = tmp_path_factory.mktemp("wandb")
    for path in folders.rglob("*.wandb"):
        (files / path.parent.name).mkdir()
        shutil.copy(path, files / path.parent.name / path.name)
    return files


def cells(records: Records) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All cells in an order of their own; where runs are kept is no cell."""
    runs = records.runs.sort_values("key", ignore_index=True)
    return runs[sorted(runs)], records.evals.sort_values(["key", "step"], ignore_index=True)


def report(records: Records) -> Any:
    page = answer.page(own.study_of(records, "optimizer", "train_seconds", "memory_budget"))
    return page.title, page.parts, page.provenance


def test_all_four_sources_give_the_same_cells(folders: Path, kept_files: Path, server: Server, tmp_path: Path) -> None:
    collect(EXPERIMENT, folders, experiments=tmp_path)
    loaded = {
        "folders": load_runs(folders, EXPERIMENT),
        "committed": load_results(EXPERIMENT, tmp_path),
        "files": read_from(str(kept_files)),
        "server": read_from(f"wandb:{PROJECT}"),
    }
    assert (len(loaded["folders"].runs), len(loaded["folders"].evals)) == (4, 8)
    for source, records in loaded.items():
        for folder_cells, others in zip(cells(loaded["folders"]), cells(records), strict=True):
            digits = COMMITTED_DIGITS if source == "committed" else 99
            pd.testing.assert_frame_equal(folder_cells.round(digits), others.round(digits), check_exact=True)
        assert report(records) == report(loaded["folders"])
    for source in ("files", "server"):
        assert loaded[source].full == loaded["folders"].full
    assert "Runs" in server.asked


@pytest.mark.parametrize(("project", "said"), [("someone/else", "Could not find project"), ("/", "names no project")])
def test_a_project_that_is_not_there_is_told(project: str, said: str, server: Server) -> None:
    with pytest.raises(ValueError, match=f"runs=wandb:{project} .*{said}.*"):
        read_from(f"wandb:{project}")


def test_without_a_login_the_host_and_the_remedy_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"is on api.*, to which nobody is logged in; log in by `wandb login`"):
        read_from("wandb:someone/tightfit")


def one_file(kept_files: Path) -> Path:
    """Of a run that ended in it, with two evaluations."""
    return next(path for path in sorted(kept_files.rglob("*.wandb")) if len(read_log(path).rows) == 2)


def refusal(path: Path) -> str:
    """Why the file is not read; empty where it is. Of an ended run wandb writes the last evaluation after the end."""
    try:
        read_files([path])
    except ValueError as error:
        return str(error)
    return ""


def test_a_file_cut_anywhere_gives_the_evaluations_before_the_cut(kept_files: Path, tmp_path: Path) -> None:
    content = one_file(kept_files).read_bytes()
    path = tmp_path / "run-cut.wandb"
    seen = set()
    for size in (*range(0, len(content), 97), len(content)):
        path.write_bytes(content[:size])
        if refused := refusal(path):
            assert (
                "is empty" in refused or "is no log" in refused or re.search("no record of it|of the 2 eval", refused)
            )
            continue
        record, rows = read_files([path])
        steps = [row["step"] for row in rows]
        assert steps == [0, 100][: len(steps)]
        assert record.status in ("failed", "diverged")
        seen.add(len(steps))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "is empty"),
        (lambda content: b"no log" + content, "is no log of a W&B run"),
        (lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:], "is damaged"),
    ],
)
def test_a_damaged_file_is_left_out_by_its_name(damage: Any, said: str, kept_files: Path, tmp_path: Path) -> None:
    path = tmp_path / "run-one.wandb"
    path.write_bytes(damage(one_file(kept_files).read_bytes()))
    told = pytest.warns(UserWarning, match=f"run-one.wandb .*{said}.*put the whole file back")
    with told, pytest.raises(ValueError, match="holds no run of tightfit that can be read"):
        read_from(str(tmp_path))


def test_a_run_that_was_mirrored_without_its_record_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="W&B holds no record of it"):
        Held().read(is_over=True)
