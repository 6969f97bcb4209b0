"""What one forward pass holds (MobiZO): seconds of a step and memory, beside methods that probe one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .breakdowns import beside_bar, method_rows, spaced, stacked_bars
from .curves import by_method, profile_note
from .load import PHASES, Records
from .names import in_order, mebibytes, method, model_title, subject
from .page import Backed, Page, table
from .palette import PHASE_COLORS
from .queries import published_texts
from .style import RC, NoRecords, headline, styled
from .tables import machine, profile_banner, provenance

SPEED = "mobizo/speed"
HEADERS = ("model", "random numbers", "method", "s per step", "of it random numbers", "forward passes")
LEGEND = (
    "Four directions, both signs, the same batches of four sentences. ×: how many times as fast as the method that "
    "probes one after the other, on the same model with the same random numbers; P-RGE one by one is LoRA-FA. Peaks: "
    "most bytes of tensors alive at once, measured on the first batch, and rehearsed on the widest."
)
ROOM = 2.7  # times the longest bar, for the words beside it
LONGEST_CUT = 1.25  # a bar that reaches beyond so many times that has its words over it


@dataclass(frozen=True)
class Mode:
    """A method on one model with one kind of random numbers, over its seeds; seconds are of one step."""

    model: str
    noise: str
    row: str
    adapter: str | None  # None: all weights are perturbed
    step_seconds: float
    fastest: float
    slowest: float
    phases: dict[str, float]
    passes: float
    rehearsed_bytes: float
    measured_bytes: float
    runs: tuple[str, ...]  # their keys

    def faster_than(self, other: Mode | None) -> float | None:
        return None if other is None else other.step_seconds / self.step_seconds


def modes(records: Records) -> list[Mode]:
    """Every finished method of every model, in the order of the figures."""
    finished = records.only(records.runs["status"] == "finished")
    models = sorted(set(finished.runs["model"]), reverse=True)
    found = []
    for model, noise in product(models, sorted(set(finished.runs["method.noise"].dropna()))):
        here = (finished.runs["model"] == model) & (finished.runs["method.noise"] == noise)
        for row, part in by_method(finished.only(here)):
            found.append(mode(model, noise, row, part.runs))
    return found


def mode(model: str, noise: str, row: str, runs: pd.DataFrame) -> Mode:
    adapter = runs["method.adapter"].iloc[0]
    steps = runs["steps"].astype(float)
    seconds = runs["train_seconds"] / steps
    phases = {phase: float((runs[f"{phase}_seconds"].fillna(0.0) / steps).mean()) for phase in PHASES}
    peaks = [float(runs[f"{kind}_bytes"].astype(float).mean()) for kind in ("peak_live", "measured_peak")]
    span = (float(seconds.mean()), float(seconds.min()), float(seconds.max()))
    passes = float((runs["forward_passes"].astype(float) / steps).mean())
    return Mode(
        model, noise, row, None if pd.isna(adapter) else adapter, *span, phases, passes, *peaks, tuple(runs["key"])
    )


def sequential_rows(found: list[Mode]) -> list[str]:
    """The methods that probe one after the other: of all they make the most passes for the same directions."""
    most = max((one.passes for one in found), default=0)
    return in_order({one.row for one in found if one.passes == most})


def sequential(found: list[Mode], one: Mode) -> Mapping[str, Mode]:
    """The methods that `one` is compared to: on its model, with its random numbers."""
    here = [other for other in found if (other.model, other.noise) == (one.model, one.noise)]
    return {other.row: other for other in here if other.row in sequential_rows(found)}


def page(records: Records, published: pd.DataFrame, profile: str) -> Page:
    """The modes as a table, what is published beside them, and how to read both."""
    found = modes(records)
    compared = [f"× {method(row).title}" for row in sequential_rows(found)]
    parts = (
        profile_banner(profile, records.runs),
        table([*HEADERS, *compared, "measured peak", "widest batch"], [line(found, one) for one in found]),
        LEGEND,
        *published_texts(published),
    )
    title = f"MobiZO: what one forward pass holds: {subject(records.runs)}"
    return Page(title, parts, provenance(records.runs), {"": data(found, profile)})


def line(found: list[Mode], one: Mode) -> list[str]:
    slower = sequential(found, one)
    times = [one.faster_than(slower.get(row)) for row in sequential_rows(found)]
    several = f" ({one.fastest:.3g} – {one.slowest:.3g})" if one.fastest < one.slowest else ""
    return [
        model_title(one.model),
        one.noise.replace("_", " "),
        method(one.row).title,
        Backed(f"{one.step_seconds:.3g}{several}", one.runs),
        f"{one.phases['perturb'] + one.phases['update']:.2g}",
        f"{one.passes:g}",
        *("–" if ratio is None else f"{ratio:.2f}" for ratio in times),
        mebibytes(one.measured_bytes),
        "–" if pd.isna(one.rehearsed_bytes) else mebibytes(one.rehearsed_bytes),
    ]


def data(found: list[Mode], profile: str) -> pd.DataFrame:
    """A row for each mode; seconds per step, bytes."""
    rows = [
        {
            "profile": profile,
            **{name: value for name, value in asdict(one).items() if name not in ("phases", "adapter", "runs")},
            **{f"{phase}_seconds": seconds for phase, seconds in one.phases.items()},
            **{f"times_{row}": one.faster_than(sequential(found, one).get(row)) for row in sequential_rows(found)},
        }
        for one in found
    ]
    return pd.DataFrame(rows).round(6)


@matplotlib.rc_context(RC)
def step_by_mode(records: Records, profile: str = "paper") -> Figure:
    """Seconds of a step by phase and how many times as fast it is, a panel for each model and kind of random numbers.

    Raises NoRecords when no run recorded its phases.
    """
    found = modes(records)
    if not found:
        raise NoRecords("no steps of P-RGE were timed; run make reproduce-mobizo")
    models, noises = list(dict.fromkeys(one.model for one in found)), sorted({one.noise for one in found})
    rows = {model: in_order({one.row for one in found if one.model == model}) for model in models}
    figure = styled(height=1.7 + sum(0.65 + 0.42 * len(names) for names in rows.values()))
    heights = [1.5 + len(rows[model]) for model in models]
    panels = figure.subplots(len(models), len(noises), squeeze=False, sharex="row", height_ratios=heights)
    for model, abreast in zip(models, panels, strict=True):
        here = [one for one in found if one.model == model]
        for noise, axes in zip(noises, abreast, strict=True):
            panel(axes, [one for one in here if one.noise == noise], rows[model], longest_bar(here))
            axes.set_title(f"{model_title(model)}, {noise.replace('_', ' ')}")
        for axes in abreast[1:]:
            axes.tick_params(axis="y", labelleft=False)
    for axes in panels[-1]:
        axes.set_xlabel("seconds per step")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, spaced(names), loc="outside lower center", ncols=len(names), frameon=False)
    headline(figure, f"What one forward pass holds: {subject(records.runs)}", reading(records, profile))
    return figure


def longest_bar(found: list[Mode]) -> float:
    """Seconds of the slowest method that is drawn whole: all weights perturbed may take so long that nothing else is
    seen beside it."""
    return max((one.step_seconds for one in found if one.adapter), default=found[0].step_seconds)


def panel(axes: Axes, found: list[Mode], rows: list[str], longest: float) -> None:
    """A bar for each method; beside it its seconds, and the factor by which it is ahead of the sequential ones."""
    by_row = {one.row: one for one in found}
    seconds = pd.DataFrame([by_row[row].phases if row in by_row else {} for row in rows], columns=list(PHASES))
    whole = [by_row[row].step_seconds if row in by_row else 0.0 for row in rows]
    seconds["other"] = whole - seconds.sum(axis="columns")
    stacked_bars(axes, seconds.fillna(0.0).clip(lower=0.0), PHASE_COLORS)
    end = LONGEST_CUT * longest
    for place, row in enumerate(rows):
        if row in by_row:
            cut = whole[place] > end
            beside_bar(axes, min(whole[place], end), place, words(found, by_row[row]) + (" →" if cut else ""))
    method_rows(axes, [method(row).title for row in rows], [method(row).color for row in rows])
    axes.set_xlim(0, ROOM * longest)


def words(found: list[Mode], one: Mode) -> str:
    slower = sequential(found, one)
    ratios = [(row, one.faster_than(slower.get(row))) for row in sequential_adapters(found) if row != one.row]
    times = [f"×{ratio:.2f} {method(row).short}" for row, ratio in ratios if ratio is not None]
    return "  ".join([f"{one.step_seconds:.3g} s", *(times if one.row not in slower else [])])


def sequential_adapters(found: list[Mode]) -> list[str]:
    """Those of the methods that probe one after the other that train an adapter."""
    return in_order({one.row for one in found if one.adapter and one.row in sequential_rows(found)})


def reading(records: Records, profile: str) -> str:
    runs = records.runs
    machines = dict.fromkeys(map(machine, runs.dropna(subset="cpu").to_dict("records")))
    seeds = runs["seed"].nunique()
    slower = " and ".join(method(row).short for row in sequential_adapters(modes(records)))
    return (
        f"Four directions, both signs, four sentences. ×: times as fast as {slower}, probe after probe.\n"
        f"{'; '.join(machines)}, {f'mean of {seeds} runs' if seeds > 1 else 'one run'}{profile_note(profile, runs)}"
    )
