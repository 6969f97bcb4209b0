"""How often an integer comparison of two losses has the sign of float64, and what a wrong one costs."""

from __future__ import annotations

from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .load import Records, latest
from .names import dataset_title, method
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, styled

ROWS = {False: "full_zo", True: "cls2"}  # whether its last layer is backpropagated, and the row it stands for
PUBLISHED_AGREEMENT = 95  # per cent, "about", in the text of ElasticZO


@matplotlib.rc_context(RC)
def loss_sign(records: Records) -> Figure:
    """Agreement over a whole run and final accuracy against the binary places of the logarithm.

    Raises NoRecords when no run was audited.
    """
    last = records.evals.dropna(subset="sign_agreement").groupby("key").last()
    runs = latest(records.runs[records.runs["key"].isin(last.index)], ["cell_row", "cell_column", "seed"])
    if runs.empty:
        raise NoRecords("no loss sign was audited; run python -m tightfit.reproduce elasticzo/loss_sign profile=paper")
    runs = runs.assign(
        places=runs["optimizer.fraction_bits"].astype(int),
        agreement=100 * runs["key"].map(last["sign_agreement"]),
        accuracy=100 * runs["final_accuracy"],
    ).sort_values("places")
    figure = styled(height=4.4)
    left, right = figure.subplots(1, 2)
    headline(
        figure,
        "The loss sign in integers: how often it is right, and what that is worth",
        "A point: one training of the full protocol. Right is the sign that float64 gives at the same logits, counted\n"
        "over all steps; a tie counts as wrong and changes no weight. 0 binary places are the paper's form.",
    )
    left.axhline(PUBLISHED_AGREEMENT, color="#999999", linewidth=1, linestyle=":")
    where = (runs["places"].min(), PUBLISHED_AGREEMENT)
    left.annotate("paper: about 95", where, (0, 3), textcoords="offset points", fontsize=9)
    panel(left, runs, "agreement", "steps with the sign of float64, %")
    panel(right, runs, "accuracy", "final test accuracy, %")
    return figure


def panel(axes: Axes, runs: pd.DataFrame, value: str, title: str) -> None:
    """A line for each method and data set over the binary places kept."""
    axes.set(title=title, xlabel="binary places of each logarithm", xticks=sorted(set(runs["places"])))
    labels = []
    by_line: Any = runs.groupby(["method.backpropagates", "dataset"])
    for (backpropagates, dataset), line in sorted(by_line, key=lambda group: (not group[0][0], group[0][1])):
        row = method(ROWS[bool(backpropagates)])
        means = line.groupby("places")[value].mean()
        style = "-" if dataset == "mnist" else "--"
        axes.plot(means.index, means, color=row.color, linestyle=style, marker="o", markersize=5)
        text = f"{row.short}, {dataset_title(dataset)} {means.iloc[-1]:.1f}"
        labels.append(EndLabel(means.index[-1], means.iloc[-1], text, row.color))
    label_line_ends(axes, labels)
