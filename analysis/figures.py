"""Draw every table and figure there are records for: `python -m analysis.figures`.

Records are the committed results of each experiment and, where there are any, the local runs.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from rich.console import Console

from . import gains, papers, step_cost
from .breakdowns import by_arithmetic, memory_breakdown, step_time
from .curves import accuracy_by_seconds_at, loss_curves
from .fine_tuning import backpropagates
from .load import EXPERIMENTS, ROOT, RUNS, Records, latest, load_published, load_results, load_runs, merge
from .loss_sign import loss_sign
from .page import Page
from .planned import FIG3, FIG4, load_plan, memory_by_context, memory_by_reading
from .predicted import predicted_against_measured
from .protocol import superseded_reasons
from .render.data import csv
from .render.latex import latex
from .render.markdown import markdown
from .render.terminal import terminal
from .style import NoRecords, save
from .table_page import page_of
from .table_terminal import render_terminal
from .tables import build_table

PROFILES = ("paper", "short", "smoke")  # the more of the protocol, the better the evidence
FIGURES = ROOT / "figures"


@dataclass(frozen=True)
class Drawing:
    """A figure made from the records of one experiment and, where it has them, published numbers."""

    name: str
    experiment: str
    draw: Callable[[Records, str], Figure]


def drawings(experiments: Path) -> list[Drawing]:
    """Every figure of every paper."""

    def published(name: str) -> pd.DataFrame:
        return load_published(name, experiments)

    def memory_of(figure: str) -> Callable[[Records, str], Figure]:
        return lambda records, _: memory_breakdown(records.runs, published(f"elasticzo/{figure}"))

    return [
        Drawing("loss_curves", "elasticzo/table1", lambda r, p: loss_curves(r, "FP32", p)),
        Drawing("loss_curves_int8", "elasticzo/table1", lambda r, p: loss_curves(r, "INT8", p)),
        Drawing("loss_sign", "elasticzo/loss_sign", lambda r, _: loss_sign(r)),
        Drawing("step_time", "elasticzo/step_time", lambda r, p: step_time(r, published("elasticzo/fig7"), p)),
        Drawing(
            "step_time_b256",
            "elasticzo/step_time_b256",
            lambda r, p: step_time(by_arithmetic(r), published("elasticzo/step_time_b256"), p),
        ),
        Drawing("accuracy_by_seconds_one_budget", "elasticzo/budgets", lambda r, p: accuracy_by_seconds_at(r, None, p)),
        *(Drawing(name, f"elasticzo/{name}", memory_of(fig)) for name, fig in MEMORY_FIGURES.items()),
        Drawing("predicted_against_measured", "memory_grid/grid", lambda r, _: predicted_against_measured(r.runs)),
        *(Drawing(*figure) for figure in papers.figures()),
        Drawing("memory_by_context", FIG3, lambda *_: memory_by_context(load_plan(FIG3, experiments))),
        Drawing("memory_by_reading", FIG4, lambda *_: memory_by_reading(load_plan(FIG4, experiments), published(FIG4))),
    ]


MEMORY_FIGURES = {
    "memory": "fig4",
    "memory_int8": "fig5",
    "memory_pointnet": "fig6",
}  # experiment: its published figure
FINE_TUNING = "on_device_mezo/fine_tuning"
PAGES, TABLES = papers.pages(), papers.tables()  # what has a page of its own form, and of the common one
README = ROOT / "README.md"
README_TABLE = "elasticzo/table1"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m analysis.figures", description=__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of runs")
    parser.add_argument("--out", type=Path, default=FIGURES, help="where tables and figures go")
    parser.add_argument("--profile", choices=PROFILES, help="default: the fullest that an experiment has records of")
    parser.add_argument("--latex", choices=[*TABLES, *PAGES], help="only print the table of this experiment as LaTeX")
    options = parser.parse_args(arguments)
    if options.latex:
        print(latex(recorded_page(options.latex, options.profile)), end="")
        return
    console = open_console()
    for experiment in dict.fromkeys([*TABLES, *(drawing.experiment for drawing in drawings(EXPERIMENTS))]):
        records = gather(experiment, options.runs)
        profile = options.profile or fullest_profile(records)
        for path in report_records(experiment, profile, records, console, out=options.out):
            console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    for path in write_page(step_cost.page(step_cost.load_costs()), options.out / "step_cost" / "language"):
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    README.write_text(with_recorded_table(README.read_text()))


def recorded_page(experiment: str, profile: str | None = None) -> Page:
    """The page of the committed records of `experiment`, by default of the fullest profile there is."""
    records, published = load_results(experiment), load_published(experiment)
    profile = profile or fullest_profile(records)
    chosen = records.of_profile(profile)
    if experiment in PAGES:
        return PAGES[experiment](chosen, published, profile)
    return page_of(build_table(experiment, profile, chosen.runs, published, reasons=reasons(experiment, chosen.runs)))


def report_experiment(
    experiment: str,
    profile: str,
    runs: Path = RUNS,
    console: Console | None = None,
    out: Path = FIGURES,
    experiments: Path = EXPERIMENTS,
) -> list[Path]:
    """Print the table of `experiment` as `profile` has it, and write it and the figures; returns the files written."""
    records = gather(experiment, runs, experiments)
    return report_records(experiment, profile, records, console or open_console(), out, experiments)


def report_records(
    experiment: str, profile: str, records: Records, console: Console, out: Path, experiments: Path = EXPERIMENTS
) -> list[Path]:
    """Write what `records` of `profile` can answer; a figure without records is named with what to run."""
    chosen, folder = records.of_profile(profile), out / experiment.partition("/")[0]
    files = []
    if experiment in TABLES:
        files += report_table(experiment, profile, chosen, console, folder, experiments)
    if experiment in PAGES and len(chosen.runs):
        files += report_page(experiment, profile, chosen, console, folder, experiments)
    if experiment == FINE_TUNING and len(chosen.runs):
        files += report_gains(chosen, folder, experiments)
    for drawing in drawings(experiments):
        if drawing.experiment != experiment:
            continue
        try:
            files += save(drawing.draw(chosen, profile), folder / drawing.name)
        except NoRecords as missing:
            console.print(f"{drawing.name} is not drawn: {missing}", markup=False, highlight=False)
    return files


def report_table(
    experiment: str, profile: str, records: Records, console: Console, folder: Path, experiments: Path
) -> list[Path]:
    """Print the table and, where a run is on record, write it as markdown and as data."""
    recorded = load_results(experiment, experiments).of_profile("paper").runs
    beside = None if recorded.empty or is_same(records, recorded["key"].tolist()) else recorded
    published = load_published(experiment, experiments)
    known = records.runs if beside is None else pd.concat([records.runs, beside])
    why = reasons(experiment, known, experiments)
    table = build_table(experiment, profile, records.runs, published, beside, why)
    console.print(render_terminal(table))
    return write_page(page_of(table), folder / experiment.partition("/")[2]) if len(known) else []


def reasons(experiment: str, runs: pd.DataFrame, experiments: Path = EXPERIMENTS) -> dict[str, str]:
    """Why `runs` of `experiment` are superseded, by their keys, as the protocol says."""
    return superseded_reasons(experiment, runs.to_dict("records"), experiments)


def report_gains(records: Records, folder: Path, experiments: Path) -> list[Path]:
    """Write what training gained on the same sentences, where that was scored."""
    gained = gains.load_gains(FINE_TUNING, experiments)
    gained = gained[gained["key"].isin(latest(records.runs, ["memory_budget", "cell_row", "seed"])["key"])]
    if gained.empty:
        return []
    without = [str(row) for row, runs in records.runs.groupby("cell_row") if not backpropagates(runs)]
    return write_page(gains.page(gained, without), folder / "fine_tuning_gains")


def report_page(
    experiment: str, profile: str, records: Records, console: Console, folder: Path, experiments: Path
) -> list[Path]:
    """Print the page that `experiment` has of its own and write it."""
    page = PAGES[experiment](records, load_published(experiment, experiments), profile)
    console.print(terminal(page), markup=False, highlight=False, soft_wrap=True)
    return write_page(page, folder / experiment.partition("/")[2])


def write_page(page: Page, stem: Path) -> list[Path]:
    """Write `page` as markdown and its numbers as CSV; returns the files."""
    files = {stem.with_suffix(".md"): markdown(page)}
    files |= {stem.with_name(f"{stem.name}{name}.csv"): csv(frame) for name, frame in page.data.items()}
    stem.parent.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        path.write_text(content)
    return list(files)


def with_recorded_table(readme: str, experiments: Path = EXPERIMENTS) -> str:
    """`readme` with the committed full-protocol runs as its table, between the two marks."""
    recorded = load_results(README_TABLE, experiments).of_profile("paper").runs
    if recorded.empty:
        return readme
    published = load_published(README_TABLE, experiments)
    why = reasons(README_TABLE, recorded, experiments)
    built = build_table(README_TABLE, "paper", recorded, published, reasons=why)
    table = markdown(page_of(built, listed_in=f"figures/{README_TABLE}.md"))
    name = README_TABLE.partition("/")[2]
    return re.sub(rf"(<!-- {name}: .*? -->).*?(<!-- /{name} -->)", rf"\1\n{table}\n\2", readme, flags=re.DOTALL)


def gather(experiment: str, runs: Path, experiments: Path = EXPERIMENTS) -> Records:
    """Committed results and local runs of `experiment` together."""
    return merge(load_results(experiment, experiments), load_runs(runs, experiment))


def is_same(records: Records, recorded: list[str]) -> bool:
    """Whether the recorded runs are the very ones that `records` hold, so that showing both would say it twice."""
    return set(records.runs["key"]) == set(recorded)


def fullest_profile(records: Records) -> str:
    """The profile nearest the paper's protocol of which there are runs."""
    present = set(records.runs["profile"])
    return next((profile for profile in PROFILES if profile in present), "paper")


def open_console() -> Console:
    """A console for the tables; where the output is not a terminal, wide enough for their sections."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


if __name__ == "__main__":
    main()
