"""Kills at a chosen moment, without a process to lose."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tightfit import checkpoint


class Killed(BaseException):
    """Stands for a kill: nothing that follows in the process runs."""


@contextmanager
def killed_at_second_checkpoint() -> Generator[list[Path]]:
    """What is run inside is killed just after its second checkpoint was written; yields the checkpoints so far."""
    real, saves = checkpoint.save, []

    def save(path: Path, state: dict[str, Any]) -> None:
        real(path, state)
        saves.append(path)
        if len(saves) == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        with pytest.raises(Killed):
            yield saves
