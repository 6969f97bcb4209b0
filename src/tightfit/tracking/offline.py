"""What the files of offline W&B runs hold: a mirror that was cut short is completed, and nothing is told twice."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768  # bytes; the log of an offline run is LevelDB's log format after a header of 7 bytes


@dataclass
class Mirrored:
    """The steps with a row, and the status with which the run was closed; None while it is open."""

    steps: set[int] = field(default_factory=set)
    status: str | None = None


def log_entries(content: bytes) -> Iterator[bytes]:
    """The whole entries of a transaction log, up to where a kill cut it."""
    position, part = 7, b""
    while position + 7 <= len(content):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        data = content[position + 7 : position + 7 + length]
        if kind == 0 or len(data) < length:
            return
        part = part + data if kind in (3, 4) else data
        position += 7 + length
        if kind in (1, 4):
            yield part


def read_mirrored(folder: Path, id: str) -> Mirrored:
    """What all offline files of run `id` in `folder` hold together; the latest tells how it was closed."""
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # its classes are made when it is imported
    mirrored = Mirrored()
    for path in sorted(folder.glob(f"wandb/offline-run-*-{id}/*.wandb")):
        status, closed = "", False
        for entry in log_entries(path.read_bytes()):
            record = messages.Record()
            record.ParseFromString(entry)
            if record.HasField("history"):
                mirrored.steps.add(record.history.step.num)
            for item in record.summary.update if record.HasField("summary") else ():
                if item.key == "status" or list(item.nested_key) == ["status"]:
                    status = json.loads(item.value_json)
            closed = closed or record.HasField("exit")
        mirrored.status = status if closed else None
    return mirrored
