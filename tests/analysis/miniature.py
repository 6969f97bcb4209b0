"""Run folders as training leaves them, small and with numbers that can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tightfit.records.record import RunRecord, append_eval, write_run
from tightfit.run.keys import run_key

STEPS_PER_EVALUATION = 100
PARAMETER_BYTES = 107_786 * 4
EXAMPLE_BYTES = 18_058 * 4
MACHINE = {"cpu": "Example CPU", "cores": 2, "device": "cpu", "threads": 1, "python": "3.11.7", "torch": "2.13.0"}


def make_run(
    runs: Path,
    experiment: str,
    row: str,
    column: str,
    accuracies: Sequence[float] = (),
    *,
    seed: int = 0,
    profile: str = "paper",
    status: str = "finished",
    reason: str = "",
    batch_size: int = 32,
    budget: int | None = None,
    seconds: float = 10.0,
    passes: tuple[int, int] = (2, 1),
    method: Mapping[str, Any] | None = None,
    majority: float | None = None,
    started_at: str = "2026-01-01T00:00:00+00:00",
    **config: Any,
) -> Path:
    """Write one run folder with an evaluation per accuracy, `seconds` of training apart; returns the folder.

    passes: forward and backward ones of a step. method: what the method says of itself.
    majority: what always giving the most frequent class is right for.
    """
    backward = row.startswith("full_bp")
    content = {
        "experiment": experiment,
        "profile": profile,
        "cell": {"row": row, "column": column},
        "seed": seed,
        "optimizer": {"name": "bp_sgd" if backward else "elastic_zo", "bp_layers": None if backward else 1},
        "model": {"name": "lenet5"},
        "dataset": {"name": "fashion_mnist" if "fashion" in column else "mnist"},
        "memory_budget": {"name": "custom" if budget else "unlimited"},
        "training": {"epochs": 100, "fraction": {"paper": 1.0, "short": 0.08}[profile], "batch_size": "largest"},
        **config,
    }
    key = run_key(content)
    folder = runs / experiment / key
    record = RunRecord(key, experiment, content, status, reason, started_at, commit="0123456789abcdef", machine=MACHINE)
    record.dataset = {"scored": "test"} | ({} if majority is None else {"majority_accuracy": majority})
    record.method = {"backpropagates": passes[1] > 0, "arithmetic": arithmetic_in(column), **(method or {})}
    record.memory = memory(row, batch_size, budget)
    rows = [eval_row(number, accuracy, seconds, passes) for number, accuracy in enumerate(accuracies)]
    if rows:
        record.summary = summary(rows)
        trained = rows[-1]["train_seconds"]
        shares = {"forward": 0.4, "backward": 0.5, "update": 0.05} if backward else {"forward": 0.8, "perturb": 0.1}
        record.phase_seconds = {phase: share * trained for phase, share in shares.items()}
    write_run(folder, record)
    for content in rows:
        append_eval(folder, content)
    return folder


def arithmetic_in(column: str) -> str:
    return "int8 with integer loss" if "int8_star" in column else "int8" if "int8" in column else "float32"


def memory(row: str, batch_size: int, budget: int | None) -> dict[str, Any]:
    """LeNet-5 as the paper counts it, with a measured peak of three quarters of that."""
    gradients, errors = {"cls2": (850, 10), "cls1": (11_014, 178)}.get(row, (0, 0))
    if row.startswith("full_bp"):
        gradients, errors = 107_786, 18_058
    analytic = {
        "parameters": PARAMETER_BYTES,
        "activations": EXAMPLE_BYTES * batch_size,
        "gradients": 4 * gradients,
        "errors": 4 * errors * batch_size,
        "optimizer_state": 2 * PARAMETER_BYTES if row == "full_bp_adam" else 0,
    }
    analytic["total"] = sum(analytic.values())
    return {
        "analytic": analytic,
        "batch_size": batch_size,
        "budget_bytes": budget,
        "measured_peak_bytes": analytic["total"] * 3 // 4,
        "measured_inference_peak_bytes": PARAMETER_BYTES + EXAMPLE_BYTES * batch_size // 4,
    }


def eval_row(number: int, accuracy: float, seconds: float, passes: tuple[int, int]) -> dict[str, Any]:
    step = number * STEPS_PER_EVALUATION
    return {
        "step": step,
        "epoch": float(number),
        "train_seconds": number * seconds,
        "train_cpu_seconds": number * seconds,
        "eval_seconds": 0.5 * number,
        "forward_passes": passes[0] * step,
        "backward_passes": passes[1] * step,
        "train_loss": 2.5 * (1 - accuracy) + 0.01 if number else None,
        "test_accuracy": accuracy,
        "test_loss": 2.5 * (1 - accuracy) + 0.02,
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = rows[-1]
    return {
        "final_accuracy": last["test_accuracy"],
        "best_accuracy": max(row["test_accuracy"] for row in rows),
        "final_loss": last["test_loss"],
        **{name: last[name] for name in ("train_seconds", "train_cpu_seconds", "eval_seconds", "step")},
        "steps": last["step"],
    }
