"""More directions or more sentences (MobiZO): accuracy and seconds at a constant number of rows per forward pass."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from . import names
from .curves import by_method, conditions, curve, draw, draw_baselines
from .fine_tuning import reason
from .load import Records
from .names import Method, mebibytes, method, model_title, subject
from .page import Backed, Page, table
from .statistics import Estimate, estimate, wilson
from .style import RC, EndLabel, NoRecords, headline, label_line_ends, styled
from .tables import ONE_SEED, interval_text, ours_text, percent, profile_banner, provenance

QUERIES = "mobizo/queries"
HEADERS = (
    *("model", "directions q", "sentences B", "accuracy ± (n)", "95% interval", "best of all evaluations"),
    *("s per step", "measured peak"),
)

LEGEND = "All runs take the same number of steps, and each step forwards 2 q B rows in one pass."


@dataclass(frozen=True)
class Share:
    """One way to share the rows of a pass, over its seeds. `note` says which seeds gave no result, and why."""

    model: str
    row: str
    queries: int
    batch_size: int
    initial: float
    final: Estimate | None
    best: float  # the highest of a run's evaluations, as the paper reports; mean over seeds
    step_seconds: float
    peak_bytes: float
    note: str
    runs: tuple[str, ...]  # their keys


def shares(records: Records) -> list[Share]:
    """Every (q, B) of every model, from one direction to most."""
    runs = records.runs.dropna(subset=["cell_row", "cell_column"])
    found = []
    for model in sorted(set(runs["model"]), reverse=True):
        here = by_method(records.only(records.runs["model"] == model))
        found += sorted((share(model, row, part.runs) for row, part in here), key=lambda one: one.queries)
    return found


def look_of(found: list[Share]) -> dict[str, Method]:
    """How each row is drawn: the more directions, the darker."""
    steps = sorted({one.queries for one in found})
    return {one.row: names.share(one.queries, one.batch_size, steps.index(one.queries), len(steps)) for one in found}


def share(model: str, row: str, runs: pd.DataFrame) -> Share:
    finished = runs[runs["status"] == "finished"]
    others = runs[runs["status"] != "finished"].to_dict("records")
    examples = finished["split_examples"].max()
    return Share(
        model,
        row,
        int(runs["method.queries"].iloc[0]),
        batch_size=int(runs["batch_size"].iloc[0]),
        initial=float(finished["initial_accuracy"].mean()),
        final=estimate(finished["final_accuracy"].tolist(), int(examples)) if len(finished) else None,
        best=float(finished["best_accuracy"].mean()),
        step_seconds=float((finished["train_seconds"] / finished["steps"].astype(float)).mean()),
        peak_bytes=float(finished["measured_peak_bytes"].astype(float).max()),
        note="; ".join(dict.fromkeys(map(reason, others))),
        runs=tuple(runs["key"]),
    )


def page(records: Records, published: pd.DataFrame, profile: str) -> Page:
    """The shares as a table, what is published beside them, and how to read both."""
    parts = (
        profile_banner(profile, records.runs),
        table(HEADERS, [line(one) for one in shares(records)]),
        f"{LEGEND} Before training: {'; '.join(initial_texts(records))}.",
        ONE_SEED,
        *published_texts(published),
    )
    title = f"MobiZO: directions or sentences at a constant number of rows: {subject(records.runs)}"
    return Page(title, parts, provenance(records.runs), {"": data(records, profile)})


def line(one: Share) -> list[str]:
    known = not math.isnan(one.step_seconds)
    return [
        model_title(one.model),
        str(one.queries),
        str(one.batch_size),
        Backed(f"{ours_text(one.final)} {one.note}".strip() if one.final else one.note, one.runs),
        interval_text(one.final),
        percent(one.best) if known else "–",
        f"{one.step_seconds:.3g}" if known else "–",
        mebibytes(one.peak_bytes) if known else "–",
    ]


def initial_texts(records: Records) -> list[str]:
    """What each model does before the first step: the same for every (q, B), but for seeds that draw a head."""
    models = {}
    for one in shares(records):
        if not math.isnan(one.initial):
            models.setdefault(one.model, one.initial)
    return [f"{model_title(model)} {percent(initial)}%" for model, initial in models.items()]


def published_texts(published: pd.DataFrame) -> list[str]:
    """A sentence for each published number, with where it was found."""
    return [
        f"Published, {entry['column'].replace('_', ' ')} of {method(str(entry['row'])).title}: {entry['value']:g} "
        f"{entry['unit']} ({entry['source']})."
        for entry in published.to_dict("records")
    ]


def data(records: Records, profile: str) -> pd.DataFrame:
    """A row for each share; accuracies are fractions."""
    parts = ("mean", "spread", "n", "low", "high", "interval")
    rows = [
        {
            "profile": profile,
            **{name: value for name, value in asdict(one).items() if name not in ("final", "note", "runs")},
            **{part: getattr(one.final, part) if one.final else math.nan for part in parts},
            "note": one.note,
        }
        for one in shares(records)
    ]
    return pd.DataFrame(rows).round(6)


@matplotlib.rc_context(RC)
def accuracy_by_queries(records: Records, profile: str = "paper") -> Figure:
    """Test accuracy by seconds of training for each (q, B), a panel for each model.

    Raises NoRecords when nothing was evaluated.
    """
    finished = records.only(records.runs["status"] == "finished")
    models = sorted(set(finished.runs["model"].dropna()), reverse=True)
    looks = look_of(shares(finished))
    if not models:
        raise NoRecords("no run of directions against sentences was recorded; run make reproduce-mobizo")
    figure = styled(height=1.25 + 3.1 * len(models))
    panels = figure.subplots(len(models), 1, squeeze=False).flatten()
    labels: list[list[EndLabel]] = []
    for axes, model in zip(panels, models, strict=True):
        here = dict(by_method(finished.only(finished.runs["model"] == model)))
        lines = [line for row in looks if row in here and (line := curve(here[row], row, "train_seconds", "accuracy"))]
        drawn = [(line, looks[line.row]) for line in lines]
        ends = [draw(axes, line, f"{look.title}: {line.mean[-1]:.1%}", look) for line, look in drawn]
        labels.append([*ends, *draw_baselines(axes, finished.runs[finished.runs["model"] == model])])
        axes.set(title=model_title(model), ylabel="test accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
        axes.set_xlim(left=0)
    panels[-1].set_xlabel("seconds of training; evaluation does not count")
    headline(figure, f"Directions or sentences: {subject(finished.runs)}", reading(finished, profile))
    for axes, ends in zip(panels, labels, strict=True):
        label_line_ends(axes, ends)
    return figure


def reading(records: Records, profile: str) -> str:
    return (
        "P-RGE: q directions with both signs, and B sentences, in one pass of 2 q B rows; equally many steps. "
        f"Labels: final accuracy,\n{uncertainty(records.runs)}" + conditions(records.runs, profile)
    )


def uncertainty(runs: pd.DataFrame) -> str:
    """How far off an accuracy may be for its test set's size; empty where that is unknown."""
    known = runs.dropna(subset=["final_accuracy", "split_examples"])
    if known.empty:
        return ""
    examples = int(known["split_examples"].min())
    most = max(high - low for low, high in (wilson(share, examples) for share in known["final_accuracy"])) / 2
    return f"each of a run within {100 * most:.1f} points (95%, by the size of the test set).\n"
