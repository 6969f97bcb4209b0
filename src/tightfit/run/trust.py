"""What a record is trusted with: data that are still what its run saw, and code that is ours to run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tightfit.commands.words import TRUST, WrongWords
from tightfit.datasets.dataset import DataUnavailable
from tightfit.records.record import FINAL, RunRecord, read_run, rests_on_own_files
from tightfit.run.checkpoint import CHECKPOINT
from tightfit.run.checks import own_targets, targets_in
from tightfit.run.parts import build_dataset, build_tokenizer


def check_data(config: Mapping[str, Any], before: RunRecord, folder: Path) -> None:
    """Raise ValueError when the run that `before` has on record in `folder` saw other data than `config` names now.

    Data without a checksum on record, and data that are gone, contradict nothing.
    """
    known = before.dataset.get("checksums", {})
    has_trained = before.status in FINAL or (folder / CHECKPOINT).exists()
    if not has_trained or not known or not rests_on_own_files(before, config):
        return
    try:
        found = checksums(json.dumps({part: config[part] for part in ("dataset", "model")}))
    except (DataUnavailable, OSError):
        return
    for name in known.keys() & found.keys():
        if known[name] != found[name]:
            raise ValueError(
                f"{folder} is a run on {name} with sha256 {known[name][:12]}…, but that has {found[name][:12]}… now; "
                f"put the earlier data back, or keep the runs on the new ones elsewhere by paths.runs=…"
            )


@cache  # many runs of a sweep share their data
def checksums(described: str) -> Mapping[str, str]:
    """Of the data that a configuration in JSON names, as they are now."""
    config = json.loads(described)
    return build_dataset(config, build_tokenizer(config)).checksums


def check_code(folder: Path, trusted: bool) -> None:
    """Raise ValueError when the record in `folder` names code that no option of conf/ names, unless it is `trusted`.

    Building what a record names is running it: a record that came from somebody else is not to choose what is run.
    """
    record = read_run(folder)
    foreign = sorted(targets_in(record.config) - own_targets()) if record and not trusted else []
    if foreign:
        raise WrongWords(
            f"{folder / 'run.json'} names {foreign[0]}, which is no part of tightfit and would be run; "
            f"say {TRUST} if the run is your own"
        )
