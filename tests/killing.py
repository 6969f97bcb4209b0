"""Kills at a chosen moment: most without a process to lose."""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from tests.synthetic import straight_line
from tightfit.run import checkpoint


class Killed(BaseException):
    """Stands for a kill: nothing that follows in the process runs."""


@contextmanager
def killed_at_second_checkpoint() -> Generator[list[Path]]:
    """What is run inside is killed just after its second checkpoint was written; yields the checkpoints so far."""
    real, saves = checkpoint.seal, []

    def seal(path: Path, key: str, state: dict[str, Any]) -> None:
        real(path, key, state)
        saves.append(path)
        if len(saves) == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "seal", seal)
        with pytest.raises(Killed):
            yield saves


def deadly(classes: int, seed: int, deadly_seed: int) -> nn.Module:
    """A linear classifier; its making kills the process where `seed` is the deadly one."""
    if seed == deadly_seed:
        os.kill(os.getpid(), signal.SIGKILL)
    return straight_line(classes, seed)
