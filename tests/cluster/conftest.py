"""What sweeps on a cluster are compared with."""

from __future__ import annotations

import pytest

from .sweeps import FOUR, on_this_machine


@pytest.fixture(scope="module")
def undisturbed(there: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of four runs on this machine, by key."""
    found = on_this_machine(tmp_path_factory.mktemp("here"), there, *FOUR)
    assert len(set(found.values())) == 4
    return found
