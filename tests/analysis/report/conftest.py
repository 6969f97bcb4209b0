"""Scratch runs of a user."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.conftest import MIB
from tests.analysis.miniature import make_run


@pytest.fixture
def own_runs(tmp_path: Path) -> Path:
    """Three methods under two budgets, two seeds each; Adam is over the smaller one, where MeZO diverged."""
    folder = tmp_path / "own_runs"
    for seed in (0, 1):
        for budget, name in ((3 * MIB // 2, "1.5MiB"), (3 * MIB, "3MiB")):
            for optimizer, final in (("mezo", 0.8), ("bp_sgd", 0.98), ("bp_adam", 0.97)):
                row = "full_zo" if optimizer == "mezo" else "full_bp"
                said = {"optimizer": {"name": optimizer}, "memory_budget": {"name": name}, "cell": None}
                scores, ended = [0.1, 0.5, final - 0.01 * seed], {}
                if name == "1.5MiB" and optimizer == "bp_adam":
                    scores, ended = [], {"status": "over_budget"}
                if name == "1.5MiB" and optimizer == "mezo":
                    scores, ended = [0.1], {"status": "diverged", "reason": "loss is nan at step 312"}
                make_run(folder, "scratch", row, "x", scores, seed=seed, budget=budget, **ended, **said)
    return folder
