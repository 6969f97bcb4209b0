"""What W&B is told of a run: how it is filed, its rows and its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tightfit.records.record import RunRecord

LONGEST_TAG = 64  # characters; W&B refuses longer ones
MARK = "wandb/mirrored.json"  # in the run folder: which end of the run W&B has been told
MEMORY = ("batch_size", "budget_bytes", "peak_live_bytes", "measured_peak_bytes", "measured_inference_peak_bytes")
SHORT_KEY = 6  # characters of a run's key
RECORD = "record"  # under which a summary has the whole record, as text: W&B turns 1.0 into 1, and nan into a word


def told(row: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation row as the mirror gets it, without what is unknown or no single number."""
    return {
        "row": {name: value for name, value in row.items() if not isinstance(value, list | None) and name != "step"},
        "step": row["step"],
    }


def end(record: RunRecord) -> dict[str, Any]:
    """How W&B closes the run: its summary with what memory it took, its exit code, and the mark that this was done."""
    parts = {f"{kind}_bytes": size for kind, size in record.memory.get("analytic", {}).items()}
    known = {name: record.memory[name] for name in MEMORY if record.memory.get(name) is not None}
    numbers = {name: value for name, value in record.summary.items() if not isinstance(value, list)}
    ended = {"status": record.status, "reason": record.reason, RECORD: json.dumps(asdict(record))}
    summary = {**parts, **known, **numbers, **ended}
    exit_code = 0 if record.status in ("finished", "over_budget") else 1
    return {
        "summary": summary,
        "exit_code": exit_code,
        "mark": {"status": record.status, "started_at": record.started_at},
    }


def read_mark(folder: Path) -> Any:
    """The mark of the end that was mirrored last; None where none was."""
    try:
        return json.loads((folder / MARK).read_text())
    except (OSError, ValueError):
        return None


def description(record: RunRecord) -> dict[str, Any]:
    """How W&B files the run: name, group, job type, tags and configuration; and its record as it stands.

    The name tells what differs most often within a sweep, and ends in the run's key: no two runs share it.
    """
    config = record.config
    names = [str(config[part]["name"]) for part in ("dataset", "model", "optimizer", "memory_budget")]
    seed = f"seed={config['seed']}"
    cell = config.get("cell") or {"row": names[2], "column": names[0]}
    rate = config["optimizer"].get("lr")
    rate = rate.get("initial") if isinstance(rate, Mapping) else rate
    told_apart = [] if rate is None else [f"lr={rate}"]
    told_apart += [] if names[3] == "unlimited" else [names[3]]
    return {
        "name": " ".join([cell["row"], cell["column"], *told_apart, seed, record.key[:SHORT_KEY]]),
        "group": record.experiment,
        "job_type": names[2],
        "tags": [tag[:LONGEST_TAG] for tag in (*names, str(config["profile"]), seed)],
        "config": config,
        "record": json.dumps(asdict(record)),
    }
