"""The miniature: a folder of runs and a folder of published numbers, made anew for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.load import EXPERIMENTS
from tests.analysis.miniature import make_run

MIB = 2**20
TABLE = "elasticzo/table1"
BUDGETS = "elasticzo/budgets"


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records force every row to the disk; here nothing is worth the wait."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    """Published numbers of a small table, and no results yet."""
    folder = tmp_path / "experiments"
    (folder / "elasticzo").mkdir(parents=True)
    (folder / "elasticzo/table1.csv").write_text(
        "row,column,value,unit,source\n"
        "full_zo,mnist_fp32,89.80,%,Table 1\n"
        "full_bp,mnist_fp32,99.10,%,Table 1\n"
        "full_zo,mnist_int8_star,88.92,%,Table 1\n"
        "full_bp,mnist_int8_star,,%,Table 1\n"
    )
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three seeds of Full ZO, one of Full BP, both at full length."""
    folder = tmp_path / "runs"
    for seed, final in enumerate((0.90, 0.91, 0.92)):
        make_run(folder, TABLE, "full_zo", "mnist_fp32", [0.1, 0.5, final], seed=seed)
    make_run(folder, TABLE, "full_bp", "mnist_fp32", [0.1, 0.9999, 0.99], seconds=4.0)
    return folder


@pytest.fixture
def budget_runs(tmp_path: Path) -> Path:
    """Two budgets: at 1.5 MiB Adam does not fit and Full ZO diverged; at 3 MiB all three trained, two seeds each."""
    folder = tmp_path / "budget_runs"
    for seed in (0, 1):
        small, large = {"seed": seed, "budget": 3 * MIB // 2}, {"seed": seed, "budget": 3 * MIB}
        make_run(folder, BUDGETS, "full_bp", "1.5MiB", [0.1, 0.9, 0.97], batch_size=4, **small)
        make_run(folder, BUDGETS, "full_bp_adam", "1.5MiB", batch_size=1, status="over_budget", **small)
        reason = "loss is nan at step 312; lower the learning rate"
        make_run(folder, BUDGETS, "full_zo", "1.5MiB", [0.1], batch_size=15, status="diverged", reason=reason, **small)
        for row, batch_size in (("full_bp", 15), ("full_bp_adam", 9), ("full_zo", 37)):
            make_run(folder, BUDGETS, row, "3MiB", [0.1, 0.8, 0.98 - 0.01 * seed], batch_size=batch_size, **large)
    return folder


@pytest.fixture
def without_results(tmp_path: Path) -> Path:
    """The experiments as they are, but for what is recorded of them."""
    here = tmp_path / "without results"
    shutil.copytree(EXPERIMENTS, here, ignore=shutil.ignore_patterns("results"))
    return here
