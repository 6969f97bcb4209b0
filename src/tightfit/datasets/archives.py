"""Files out of archives: each by its exact name, into memory and never onto the disk, and none beyond a stated size.

The size that an archive states is not believed: what is unpacked is counted, and one byte too many ends it.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

MOST_BYTES = 2**29  # of a download, and of a file unpacked: no data set or model that is fetched has a larger one


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_at_most(file: Readable, name: str) -> bytes:
    """All of `file`, which is called `name` in messages. Raises ValueError when that is more than MOST_BYTES."""
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{name} is more than {MOST_BYTES:,} bytes, the most that is read of one file")
    return content


def unpacked(packed: bytes, name: str) -> bytes:
    """The content of a .gz."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        return read_at_most(file, name)


def from_zip(archive: bytes | Path, members: Iterable[str]) -> list[bytes]:
    """The files `members` of a .zip; raises KeyError when one is not there."""
    with zipfile.ZipFile(archive if isinstance(archive, Path) else io.BytesIO(archive)) as packed:
        return [read_member(packed, member) for member in members]


def read_member(archive: zipfile.ZipFile, member: str) -> bytes:
    with archive.open(member) as file:
        return read_at_most(file, member)


def from_tar(archive: bytes, member: str) -> bytes:
    """The file `member` of a .tar.gz; raises KeyError when it is not there."""
    plain = io.BytesIO(unpacked(archive, "the archive"))  # as a whole, so that what lies before `member` is counted too
    with tarfile.open(fileobj=plain, mode="r:") as tar:
        file = tar.extractfile(member)
        if file is None:
            raise KeyError(member)
        return read_at_most(file, member)
