"""What the planner says, drawn: numbers derived from plain ones, none of them measured.

A plan is kept as CSV under experiments/<paper>/planned/. That of Figure 3 is the output of
`tightfit plan device=17GB model=llama2_7b dataset.sequence_length=128,256,512,1024,2048,4096 format=csv
optimizer=bp_adam,bp_adam_checkpointed,mezo`, and of the same for `optimizer=mezo assumptions.rho=0.03125`. That of
Figure 4 is of `device=17GB dataset.sequence_length=512 format=csv` for models, methods and assumptions that its columns
name: those that the paper's caption leaves open.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from .breakdowns import beside_bar, method_rows, spaced, stacked_bars
from .load import EXPERIMENTS, MEMORY_KINDS
from .names import method
from .palette import GREY, KIND_COLORS
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, styled

FIG3, FIG4 = "on_device_mezo/fig3", "on_device_mezo/fig4_memory"
SECOND_RHO_STYLE = (0, (4, 2))
MODELS = {
    "gpt2_medium": "GPT2-medium (at most 1024 positions) by BP, Adam",
    "llama2_7b": "Llama-2 7B by MeZO",
    "llama2_13b": "Llama-2 13B by MeZO",
}
NEAR_GB = 2  # of the published need, which is given as "about"


def load_plan(name: str, experiments: Path = EXPERIMENTS) -> pd.DataFrame:
    """The plan of the figure `paper/name`. Raises NoRecords where none is kept."""
    paper, _, figure = name.partition("/")
    path = experiments / paper / "planned" / f"{figure}.csv"
    if not path.exists():
        raise NoRecords(f"no plan is kept as {path.name}; write the CSV of tightfit plan there")
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
    for (row, rho), rows in plan.groupby(["optimizer", "rho"], sort=False):
        drawn = method(str(row))
        axes.plot(
            rows["sequence_length"],
            values[rows.index],
            color=drawn.color,
            linestyle=SECOND_RHO_STYLE if rho != plan["rho"].iloc[0] else drawn.dash,
            marker=drawn.marker,
            markersize=3,
            label=f"MeZO, ρ = {share_of_blocks(rows['rho'].iloc[0])}" if row == "mezo" else drawn.title,
        )
    contexts = sorted(set(plan["sequence_length"]))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xticks(contexts, [str(context) for context in contexts])
    axes.set_xlabel("context length, positions")


def share_of_blocks(rho: float) -> str:
    """`1/32` for the thirty-second part, `0.15` for what is none."""
    blocks = round(1 / rho)
    return f"1/{blocks}" if blocks > 1 and math.isclose(rho * blocks, 1, rel_tol=1e-3) else f"{rho:.3g}"


def ends(axes: Axes) -> list[EndLabel]:
    """The name of each method at the end of its line."""
    named = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    points = [(np.asarray(line.get_xdata())[-1], np.asarray(line.get_ydata())[-1], line) for line in named]
    return [EndLabel(float(x), float(y), str(line.get_label()), str(line.get_color())) for x, y, line in points]


@matplotlib.rc_context(RC)
def memory_by_reading(plan: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """Memory of the models of Figure 4, a bar for each reading of what its caption leaves open.

    published: the need that the paper gives each model, in GB.
    """
    need, first = float(published["value"].iloc[0]), plan.iloc[0]
    counts = plan["model"].value_counts(sort=False)
    figure = styled(height=7.2)
    panels = figure.subplots(len(counts), sharex=True, height_ratios=list(counts))
    for axes, model in zip(panels, counts.index, strict=True):
        readings_panel(axes, plan[plan["model"] == model], need)
        axes.set_title(MODELS[model])
    panels[-1].set(xlabel="GB (10⁹ bytes)", xlim=(0, 1.4 * plan["total_bytes"].max() / 1e9))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, spaced(names), loc="outside lower center", ncols=len(names), frameon=False)
    headline(
        figure,
        f"Which models need about {need:g} GB: derived, not measured (on-device MeZO, Fig. 4)",
        f"Published: about {need:g} GB for each of the three at batch {first['batch_size']}; ρ = 0.15 for Llama-2, "
        "the share of the blocks whose activations co-exist.\n"
        f"All else is a reading. Bars: {first['sequence_length']} positions, logits of the {first['logits']}; bits of "
        "weights and activations, below 16 of weights alone;\n"
        "BP has 16 bytes a parameter with gradient and Adam's states; s × s matrices are held unless attention is "
        f"fused;\nno dropout unless counted. Names in black: within {NEAR_GB} GB of the published need.",
    )
    return figure


def readings_panel(axes: Axes, plan: pd.DataFrame, need: float) -> None:
    """The readings of one model; beside each what it needs, and up to which context it fits the published need."""
    totals = plan["total_bytes"] / 1e9
    stacked_bars(axes, pd.DataFrame({kind: plan[f"{kind}_bytes"] / 1e9 for kind in MEMORY_KINDS}), KIND_COLORS)
    colors = ["black" if abs(total - need) <= NEAR_GB else GREY for total in totals]
    method_rows(axes, [reading(row) for _, row in plan.iterrows()], colors)
    for place, (total, longest) in enumerate(zip(totals, plan["largest_sequence"], strict=True)):
        fits = f"within {need:g} up to {longest} positions" if longest else f"never within {need:g}"
        beside_bar(axes, max(total, need), place, f"{total:.1f} GB; {fits}")
    axes.axvline(need, color="black", linewidth=1, linestyle=":", zorder=0)


def reading(row: pd.Series) -> str:
    """The assumptions by which the readings of a model differ."""
    bits = f"{8 * row['weight_bytes']:g} bits"
    words = [f"ρ = {share_of_blocks(row['rho'])}, {bits}" if row["optimizer"] == "mezo" else bits]
    words += ["dropout counted"] if row["dropout"] else []
    words += ["fused attention"] if row["fused_attention"] else []
    words += ["checkpoints at every block"] if "checkpointed" in row["optimizer"] else []
    return ", ".join(words)
