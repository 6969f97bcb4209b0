"""What the files of offline W&B runs hold: a mirror that was cut short is completed, and nothing is told twice."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768  # bytes; the log of an offline run is LevelDB's log format after a header of 7 bytes
HEADER = b":W&B"  # and the version of the format, of 3 bytes
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4  # which part of an entry a piece is


@dataclass
class Mirrored:
    """The steps with a row, and the status with which the run was closed; None while it is open."""

    steps: set[int] = field(default_factory=set)
    status: str | None = None


def log_entries(content: bytes) -> Iterator[bytes]:
    """The whole entries of a transaction log, up to where a kill cut it. Raises ValueError where one is damaged."""
    position, part = 7, b""
    while position + 7 <= len(content):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        checksum, length, kind = struct.unpack("<IHB", content[position : position + 7])
        data = content[position + 7 : position + 7 + length]
        if kind == 0 or len(data) < length:
            return
        if zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum:
            raise ValueError(f"the entry at byte {position} is damaged")
        part = part + data if kind in (MIDDLE, LAST) else data
        position += 7 + length
        if kind in (WHOLE, LAST):
            yield part


def log_records(path: Path) -> Iterator[Any]:
    """The records in the log of an offline run. Raises ValueError, by the name of the file, where it is no such log."""
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # its classes are made when it is imported
    content = path.read_bytes()
    if not content.startswith(HEADER):
        found = "is empty" if not content else "is no log of a W&B run"
        raise ValueError(f"{path} {found}; put the whole file back, or take its folder away")
    try:
        for entry in log_entries(content):
            record = messages.Record()
            record.ParseFromString(entry)
            yield record
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); put the whole file back") from error


def values_of(items: Iterable[Any]) -> dict[str, Any]:
    """What a record of a log says, by name; values within values, which no mirror of a run has, are left out."""
    named = {".".join(item.nested_key) or item.key: item.value_json for item in items}
    return {name: json.loads(value) for name, value in named.items()}


def read_mirrored(folder: Path, id: str) -> Mirrored:
    """What all offline files of run `id` in `folder` hold together; the latest tells how it was closed."""
    mirrored = Mirrored()
    for path in sorted(folder.glob(f"wandb/offline-run-*-{id}/*.wandb")):
        status, closed = "", False
        for record in log_records(path):
            if record.HasField("history"):
                mirrored.steps.add(record.history.step.num)
            if record.HasField("summary"):
                status = values_of(record.summary.update).get("status", status)
            closed = closed or record.HasField("exit")
        mirrored.status = status if closed else None
    return mirrored
