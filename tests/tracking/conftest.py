"""What tracker tests share: an example run, the end of a process, and a reader of what offline runs leave."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tightfit.records.record import RunRecord
from tightfit.tracking.courier import courier_to
from tightfit.tracking.offline import log_entries
from tightfit.tracking.wandb import MODULE, WandbTracker


@dataclass
class OfflineRun:
    """One `offline-run-…` folder, as `wandb sync` would upload it."""

    id: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    step_metrics: dict[str, str] = field(default_factory=dict)
    artifacts: list[tuple[str, str, list[str]]] = field(default_factory=list)  # name, type, files
    exit_code: int | None = None


def put_all(target: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        place = target
        *outer, last = list(item.nested_key) or [item.key]
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)


def apply(run: OfflineRun, kind: str, content: Any) -> None:
    """Let one record of the log take effect on `run`."""
    if kind == "run":
        run.id, run.group, run.job_type = content.run_id, content.run_group, content.job_type
        run.tags = list(content.tags)
        put_all(run.config, content.config.update)
    elif kind == "history":
        run.rows.append({"step": content.step.num})
        put_all(run.rows[-1], content.item)
    elif kind == "summary":
        put_all(run.summary, content.update)
    elif kind == "metric":
        run.step_metrics[content.name or content.glob_name] = content.step_metric
    elif kind == "artifact":
        files = [entry.path for entry in content.manifest.contents]
        run.artifacts.append((content.name, content.type, files))
    elif kind == "exit":
        run.exit_code = content.exit_code


def read_log(path: Path) -> OfflineRun:
    from wandb.proto.wandb_internal_pb2 import Record

    run = OfflineRun()
    for entry in log_entries(path.read_bytes()):
        record = Record()
        record.ParseFromString(entry)
        kind = record.WhichOneof("record_type")
        apply(run, kind, getattr(record, kind))
    return run


def read_runs(folder: Path) -> list[OfflineRun]:
    return [read_log(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


@pytest.fixture(scope="session")
def read_back() -> Callable[[Path], list[OfflineRun]]:
    """The offline runs in a run folder, oldest first."""
    return read_runs


def settle_tracker(tracker: WandbTracker) -> None:
    courier_to(MODULE, tracker.finish_seconds, os.getpid()).close()
    courier_to.cache_clear()


@pytest.fixture(scope="session")
def settle() -> Callable[[WandbTracker], None]:
    """Does what the end of a process does for a tracker; the next tracker starts afresh."""
    return settle_tracker


def example(key: str) -> RunRecord:
    config = {
        "experiment": "elasticzo/table1",
        "profile": "smoke",
        "cell": {"row": "full_zo", "column": "mnist_fp32"},
        "seed": 3,
        "optimizer": {"name": "mezo", "lr": {"initial": 0.0003}},
        "model": {"name": "lenet5"},
        "dataset": {"name": "mnist"},
        "memory_budget": {"name": "1.5MiB"},
    }
    return RunRecord(key=key, experiment="elasticzo/table1", config=config)


@pytest.fixture(scope="session")
def example_record() -> Callable[[str], RunRecord]:
    """A running run under the given key."""
    return example
