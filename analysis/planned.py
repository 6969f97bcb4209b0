"""What the planner says, drawn: numbers derived from plain ones, none of them measured.

A plan is kept as CSV under experiments/<paper>/planned/. That of Figure 3 is the output of
`python -m tightfit.plan device=17GB model=llama2_7b dataset.sequence_length=128,256,512,1024,2048,4096 format=csv
optimizer=bp_adam,bp_adam_checkpointed,mezo`, and of the same for `optimizer=mezo assumptions.rho=0.03125`.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.load import EXPERIMENTS
from analysis.style import GREY, RC, EndLabel, NoRecords, headline, label_line_ends, styled

FIG3 = "on_device_mezo/fig3"
COLORS = {"bp_adam": "#333333", "bp_adam_checkpointed": "#0072B2", "mezo": "#D55E00"}
TITLES = {"bp_adam": "BP, Adam", "bp_adam_checkpointed": "BP, Adam, checkpointed"}
SECOND_RHO_STYLE = (0, (4, 2))


def load_plan(name: str, experiments: Path = EXPERIMENTS) -> pd.DataFrame:
    """The plan of the figure `paper/name`. Raises NoRecords where none is kept."""
    paper, _, figure = name.partition("/")
    path = experiments / paper / "planned" / f"{figure}.csv"
    if not path.exists():
        raise NoRecords(f"no plan is kept as {path.name}; write the CSV of python -m tightfit.plan there")
    return pd.read_csv(path)


@matplotlib.rc_context(RC)
def memory_by_context(plan: pd.DataFrame) -> Figure:
    """Memory of one model, and the largest model at one budget, against context length: a reading of Figure 3."""
    figure = styled(height=4.9)
    memory, largest = figure.subplots(1, 2)
    first = plan.iloc[0]
    headline(
        figure,
        "Memory against context: derived, not measured (on-device MeZO, Fig. 3)",
        f"Batch {first['batch_size']}; {first['weight_bytes']} bytes a weight, {first['activation_bytes']} an "
        "activation; BP: 2 a gradient and 12 of Adam's states a parameter; checkpoints: the input of every block.\n"
        f"MeZO holds the activations of a share ρ of the blocks; logits of the {first['logits']}; "
        f"dropout {said(first['dropout'])}; fused attention {said(first['fused_attention'])}: s × s matrices are held.",
    )
    draw_lines(memory, plan, plan["total_bytes"] / 1e9)
    budget = first["budget_bytes"] / 1e9
    memory.axhline(budget, color=GREY, linewidth=1, linestyle=":")
    memory.text(plan["sequence_length"].min(), budget, f"{budget:g} GB", color=GREY, va="bottom")
    memory.set(title="Llama-2 7B: GB of a step")
    draw_lines(largest, plan, plan["largest_model_parameters"] / 1e9)
    largest.set(title=f"parameters (10⁹) of the largest\nLlama-2 shape in {budget:g} GB")
    for axes in (memory, largest):
        label_line_ends(axes, ends(axes))
    return figure


def said(flag: object) -> str:
    return "counted" if flag else "none"


def draw_lines(axes: Axes, plan: pd.DataFrame, values: pd.Series) -> None:
    """A line for each method and share of blocks, on logarithmic axes."""
    for (method, rho), rows in plan.groupby(["optimizer", "rho"], sort=False):
        mezo = method == "mezo"
        axes.plot(
            rows["sequence_length"],
            values[rows.index],
            color=COLORS[str(method)],
            linestyle=SECOND_RHO_STYLE if rho != plan["rho"].iloc[0] else "-",
            marker="o",
            markersize=3,
            label=f"MeZO, ρ = {rho:.3g}" if mezo else TITLES[str(method)],
        )
    contexts = sorted(set(plan["sequence_length"]))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(contexts, [str(context) for context in contexts])
    axes.set_xlabel("context length, positions")


def ends(axes: Axes) -> list[EndLabel]:
    """The name of each method at the end of its line."""
    named = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    points = [(np.asarray(line.get_xdata())[-1], np.asarray(line.get_ydata())[-1], line) for line in named]
    return [EndLabel(float(x), float(y), str(line.get_label()), str(line.get_color())) for x, y, line in points]
