"""What is beside a program: how to call it, and that the file is whole. The standard library alone is needed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tightfit.commands.words import WrongWords
from tightfit.records.record import write_atomically

SCHEMA = 2


@dataclass(frozen=True)
class Manifest:
    """The content of the .json file beside a program; the files it names lie beside it."""

    format: str
    program: str  # name of the file
    data: str  # name of the file with the examples, and which of them each step takes
    run: str  # key of the run whose training this is
    seed: int
    noise: str
    batch_size: int
    example_shape: list[int]
    queries: int
    adapters: dict[str, list[int]]  # names as in the model's state dict, shapes (out, rank)
    starts: dict[str, int]  # of each in the vector that the program keeps
    steps: int
    arguments: dict[str, str] = field(default_factory=dict)  # of a call, in order: names and types of numbers
    sha256: str = ""  # of the program; empty until it has passed the check
    check: dict[str, float] = field(default_factory=dict)  # how far from the framework it was, and might have been
    schema: int = SCHEMA

    def write(self, program: Path) -> None:
        """Write the file beside `program`."""
        write_atomically(beside(program), json.dumps(asdict(self), indent=1).encode() + b"\n")


def beside(program: Path) -> Path:
    return program.with_suffix(".json")


def read_manifest(program: Path) -> Manifest:
    """What the file beside `program` says.

    Raises ValueError when there is none, when it is of another version, or when the program is not the one exported.
    """
    path = beside(program)
    if not program.exists() or not path.exists():
        missing = path if program.exists() else program
        raise WrongWords(f"{missing} does not exist; a program and its .json are written by tightfit export")
    try:
        content: Any = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); export the run again") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}; export the run again")
    try:
        manifest = Manifest(**content)
    except TypeError as error:
        raise ValueError(f"{path} says not how to call a program ({error}); export the run again") from error
    if file_digest(program) != manifest.sha256:
        raise ValueError(f"{program} is damaged: its sha256 is not the one in {path.name}; export the run again")
    return manifest


def file_digest(path: Path) -> str:
    """Sha256 of a file, which is never held as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
