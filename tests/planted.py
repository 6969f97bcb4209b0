"""Keys that are planted in the environment, and the search for them in what is left behind."""

import base64
import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

NAMES = (
    *("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    *("AWS_SESSION_TOKEN", "GITHUB_TOKEN", "OPENAI_API_KEY", "DATABASE_PASSWORD", "MY_PRIVATE_KEY", "MY_SECRET"),
)
SECRETS = {name: f"planted-{name.lower()}-{'0' * 24}" for name in NAMES}


def plant(patch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        patch.setenv(name, value)


def leaks(folder: Path) -> list[str]:
    """The names of the keys whose values files in `folder` hold, and where: plain, in base64, or in an archive."""
    contents = [(str(path), content) for path in sorted(folder.rglob("*")) if path.is_file() for content in read(path)]
    return [
        f"{name} in {place}"
        for name, value in SECRETS.items()
        for place, content in contents
        if any(form in content for form in forms(value.encode()))
    ]


def read(path: Path) -> Iterator[bytes]:
    """The content of the file, and what an archive or a compressed file unpacks to."""
    content = path.read_bytes()
    yield content
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from map(archive.read, archive.namelist())
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)


def forms(value: bytes) -> list[bytes]:
    """The value as it is, and its middle in base64, which depends on where it begins."""
    return [value, *(base64.b64encode(b" " * before + value)[4:-4] for before in range(3))]
