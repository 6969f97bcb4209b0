"""Memory predicted without data against memory measured in real steps, over a grid of models, methods and batches."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .load import PROCESS, TEXT, latest
from .names import MODELS, in_order, mebibytes, method
from .palette import GREY
from .style import RC, NoRecords, headline, styled

INFERENCE = "inference"
RATIOS = (0.3, 0.5, 1, 2, 3)


GRID_MODELS = {
    **MODELS,
    "llama_10m": "Llama, 10 M",
    "llama_10m_lora": "Llama, 10 M, LoRA",
    "smollm2_135m_lora": "SmolLM2-135M, LoRA",
}


@matplotlib.rc_context(RC)
def predicted_against_measured(runs: pd.DataFrame) -> Figure:
    """Predicted bytes over measured ones on logarithmic axes, and by model beside the papers' convention; names the
    worst case.

    Raises NoRecords when no run recorded both.
    """
    cells = grid_cells(runs)
    if cells.empty:
        raise NoRecords("no prediction was recorded; run make reproduce-memory-grid")
    figure = styled(height=5.9)
    both, ratios = figure.subplots(1, 2, width_ratios=(1, 1))
    trained = cells[cells["method"] != INFERENCE]
    headline(
        figure,
        f"Memory predicted without data against memory measured: {len(trained)} cells, {places(cells)}",
        f"{accuracy(cells)}{worst(cells)}\n"
        "peak_live: two steps rehearsed on tensors without data. all_buffers_live: the papers' convention.\n"
        f"Both count tensors, and by the same rule.{processes(runs)}",
    )
    draw_scatter(both, cells)
    draw_ratios(ratios, cells)
    handles, names = both.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def grid_cells(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for each model, batch and method, and for inference: predicted and measured bytes, and the signed error.

    Columns: model, batch_size, method, device, predicted, measured, error (a fraction of the measured bytes), and
    all_buffers_live where a method has that.
    """
    known = runs[runs["peak_live_bytes"].notna() & runs["measured_peak_bytes"].notna()]
    known = latest(known, ["model", "batch_size", "cell_row", "device"])
    training = cells_of(known, "").assign(method=known["cell_row"], all_buffers_live=known["total_bytes"])
    inference = cells_of(known, "_inference").drop_duplicates().assign(method=INFERENCE)
    cells = pd.concat([training, inference], ignore_index=True)
    error = (cells["predicted"] / cells["measured"] - 1).astype(float)
    return cells.assign(error=error, method=cells["method"].astype(TEXT))


def cells_of(runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """What was predicted and measured of training (kind "") or of inference ("_inference")."""
    names = {f"peak_live{kind}_bytes": "predicted", f"measured{kind}_peak_bytes": "measured"}
    return runs[["model", "batch_size", "device", *names]].rename(columns=names)


def accuracy(cells: pd.DataFrame) -> str:
    """The errors of training cells in words."""
    errors = cells.loc[cells["method"] != INFERENCE, "error"].abs()
    exact = int((errors == 0).sum())
    equal = f"{exact} of {len(errors)} cells agree to the byte" if exact else "no cell agrees to the byte"
    off = f"median error {percent(errors.median())}, worst {percent(errors.max())}"
    return f"peak_live against two real steps: {off}; {equal}."


def worst(cells: pd.DataFrame) -> str:
    """A line with the cell of the largest error, by name, if there is any; ties go to the largest measurement."""
    cell = cells.assign(size=cells["error"].abs()).sort_values(["size", "measured"]).iloc[-1]
    if cell["error"] == 0:
        return ""
    where = (
        f"{GRID_MODELS.get(cell['model'], cell['model'])}, {method(cell['method']).title}, batch {cell['batch_size']}"
    )
    sizes = f"{mebibytes(cell['predicted'])} predicted, {mebibytes(cell['measured'])} measured"
    return f"\nWorst case: {where}: {sizes}."


def processes(runs: pd.DataFrame) -> str:
    """What the whole processes held, from the least to the most, in words; nothing where none was recorded."""
    known = runs[PROCESS].dropna()
    return f" The whole process held {mebibytes(known.min())} to {mebibytes(known.max())}." if len(known) else ""


def places(cells: pd.DataFrame) -> str:
    return ", ".join(sorted({"CPU" if device == "cpu" else device for device in cells["device"].dropna()}))


def percent(error: float) -> str:
    return f"{100 * error:.3g} %"


def draw_scatter(axes: Axes, cells: pd.DataFrame) -> None:
    """Predicted over measured mebibytes, with the line on which both are the same."""
    sizes = cells[["measured", "predicted"]].astype(float) / 2**20
    limits = (0.7 * sizes.min().min(), 1.4 * sizes.max().max())
    axes.plot(limits, limits, color=GREY, linewidth=0.8)
    for row in in_order(set(cells["method"])):
        chosen, style = sizes[cells["method"] == row], method(row)
        axes.scatter(
            chosen["measured"],
            chosen["predicted"],
            s=34,
            marker=style.marker,
            color=style.color,
            label=style.title,
            edgecolors="white",
            linewidths=0.5,
        )
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits, xlabel="measured peak, MiB")
    axes.set_title("predicted peak (peak_live), MiB")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))


def draw_ratios(axes: Axes, cells: pd.DataFrame) -> None:
    """Predicted over measured bytes in a row for each model: above peak_live, below the papers' convention."""
    models = [name for name in GRID_MODELS if name in set(cells["model"])]
    models += sorted(set(cells["model"]) - set(models))
    rows = cells["model"].map({model: float(place) for place, model in enumerate(models)})
    axes.axvline(1, color=GREY, linewidth=0.8)
    for lower, accounting in enumerate(("predicted", "all_buffers_live")):
        for row in in_order(set(cells["method"])):
            chosen, style = cells["method"] == row, method(row)
            ratios = (cells[accounting] / cells["measured"])[chosen].astype("float64")
            heights = rows[chosen] + 0.4 * lower - 0.2
            axes.scatter(
                ratios, heights, s=26, marker=style.marker, color=style.color, edgecolors="white", linewidths=0.5
            )
    axes.set(xscale="log", xlabel="predicted / measured peak", ylim=(len(models) - 0.5, -0.5))
    axes.set_yticks(
        [place + offset for place in range(len(models)) for offset in (-0.2, 0.2)],
        [text for model in models for text in (f"{GRID_MODELS.get(model, model)}   peak_live", "all_buffers_live")],
    )
    axes.set_xticks(RATIOS, [f"×{ratio:g}" for ratio in RATIOS])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("the two conventions")
