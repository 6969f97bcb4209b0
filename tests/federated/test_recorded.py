"""What the page of the federation says is what was recorded, of every seed."""

from __future__ import annotations

import csv

from analysis.statistics import estimate
from tightfit.records.places import EXPERIMENTS

FEDERATED = EXPERIMENTS / "federated"
EXAMPLES = 10_000  # of MNIST's test set


def test_the_page_tells_the_mean_and_interval_of_the_recorded_seeds() -> None:
    with (FEDERATED / "results" / "simulation.csv").open() as file:
        rows = list(csv.DictReader(file))
    seeds = [row["seed"] for row in rows]
    assert len(set(seeds)) == len(seeds) >= 2
    cells = [told([float(row[name]) for row in rows]) for name in ("accuracy", "accuracy_central")]
    page = (FEDERATED / "README.md").read_text()
    assert f"| accuracy on MNIST, % (n = {len(rows)}) | {cells[0]} | {cells[1]} |" in page
    for row in rows:
        before, clients, central = (
            f"{100 * float(row[name]):.2f}" for name in ("accuracy_before", "accuracy", "accuracy_central")
        )
        assert f"| seed {row['seed']}, from {before} % | {clients} | {central} |" in page


def told(accuracies: list[float]) -> str:
    found = estimate(accuracies, EXAMPLES)
    return f"{100 * found.mean:.2f} ± {100 * found.spread:.2f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"
