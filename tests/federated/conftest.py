"""The log of a federation that has just begun."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tightfit.federated.log import FederationLog

from .members import terms


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "federation.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[FederationLog]:
    opened = FederationLog(path, terms())
    yield opened
    opened.close()
