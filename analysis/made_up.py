"""Runs that nobody made, as many as are asked for: what loading and the report cost at a scale that no study has."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np

from tightfit.records.record import DIGEST, EVALS, SCHEMA, digest

EVALUATIONS = 100
SEEDS = 10  # of each setting
MIB = 2**20
BUDGETS = {"1.5MiB": 3 * MIB // 2, "3MiB": 3 * MIB}
OPTIMIZERS = {"mezo": False, "elastic_zo": True, "bp_sgd": True, "bp_adam": True}  # whether it backpropagates
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
SIZES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
BATCHES = (8, 16, 32, 64, 128)
MACHINE = {"cpu": "Made up", "cores": 2, "device": "cpu", "threads": 1, "python": "3.11.7", "torch": "2.13.0"}


def make_up(folder: Path, runs: int, evaluations: int = EVALUATIONS) -> None:
    """Write `runs` run folders with as many evaluations each: a sweep whose settings grow in number with it."""
    settings = itertools.product(BATCHES, SIZES, RATES, BUDGETS, OPTIMIZERS, range(SEEDS))
    for number, setting in zip(range(runs), settings, strict=False):
        write_made_up(folder / "sweep" / f"{number:012x}", number, evaluations, *setting)


def write_made_up(
    folder: Path, number: int, evaluations: int, batch: int, eps: float, lr: float, budget: str, optimizer: str,
    seed: int,
) -> None:  # fmt: skip
    """One run, whose accuracy rises to what its rate and size allow, and which knows no other."""
    noise = np.random.default_rng(number)
    best = 0.95 - 0.05 * abs(np.log10(lr / 1e-3)) - 0.03 * abs(np.log10(eps / 1e-3)) + 0.01 * noise.random()
    steps = np.arange(evaluations) * 100
    shares = np.round((0.1 + (best - 0.1) * (1 - np.exp(-steps / 2000))) * 10_000) / 10_000
    rows = [
        {
            "step": step,
            "epoch": step / 1000,
            "train_seconds": step / 200,
            "train_cpu_seconds": step / 200,
            "eval_seconds": step / 2000,
            "forward_passes": 2 * step,
            "backward_passes": 0,
            "examples_seen": step,
            "train_loss": 2.5 * (1 - share) if step else None,
            "test_accuracy": share,
            "test_loss": 2.5 - 2 * share,
        }
        for step, share in zip(steps.tolist(), shares.tolist(), strict=True)
    ]
    last = rows[-1]
    config = {
        "experiment": "sweep",
        "profile": "paper",
        "cell": None,
        "seed": seed,
        "optimizer": {"name": optimizer, "lr": lr, "eps": eps},
        "model": {"name": "lenet5"},
        "dataset": {"name": "mnist"},
        "memory_budget": {"name": budget},
        "training": {"epochs": 100, "fraction": 1.0, "batch_size": batch},
    }
    record = {
        "key": folder.name,
        "experiment": "sweep",
        "schema": SCHEMA,
        "config": config,
        "status": "finished",
        "started_at": f"2026-01-01T00:00:{number % 60:02}+00:00",
        "commit": "0" * 40,
        "machine": MACHINE,
        "method": {"backpropagates": OPTIMIZERS[optimizer]},
        "dataset": {"scored": "test", "scored_size": 10_000},
        "memory": {
            "batch_size": batch,
            "budget_bytes": BUDGETS[budget],
            "analytic": {"total": MIB + 1000 * batch},
            "peak_live_bytes": MIB + 900 * batch,
            "measured_peak_bytes": MIB + 901 * batch,
        },
        "phase_seconds": {"forward": 30.0, "update": 3.0},
        "summary": {
            "final_accuracy": last["test_accuracy"],
            "best_accuracy": last["test_accuracy"],
            "final_loss": last["test_loss"],
            "train_seconds": last["train_seconds"],
            "steps": last["step"],
        },
    }
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({**record, DIGEST: digest(record)}, indent=1) + "\n")
    (folder / EVALS).write_text("".join(json.dumps(row) + "\n" for row in rows))
