"""The sections of the committed records: the answers first, then the papers' tables and what is behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import step_cost
from ..explain import recorded_experiments
from ..figures import PAGES, TABLES, drawings, fullest_profile, reasons, recorded_page
from ..load import EXPERIMENTS, Records, load_results
from ..names import Method, budget_title, experiment_title, in_order, method, subject
from ..protocol import comparisons
from ..render.html import words
from ..style import NoRecords
from ..tables import NO_RUNS, provenance
from . import answer, maps, own, parts
from .answer import Facet, Study
from .groups import grouped
from .pictures import inlined
from .shell import Section

TITLE = "Given this many bytes and this much time, which training method gives the best model?"
LEAD = (
    "Choose a memory budget: the first picture shows what accuracy the bytes buy, the second when. Every number links "
    "to its runs, and every run to its settings, code, data, machine and the command that makes it again."
)
ANSWERS = ("on_device_mezo/one_budget", "elasticzo/budgets", "on_device_mezo/fine_tuning")
REDRAWN = ("accuracy_by_seconds", "accuracy_by_seconds_one_budget", "fine_tuning", "one_budget")  # by answers
MEMORY = ("memory_grid/", "elasticzo/memory")  # experiments whose figures stand with the tables of memory
STEPS = ("elasticzo/step_time", "mobizo/speed")  # and of steps: they had their machine to themselves


def load_committed() -> dict[str, Records]:
    """The committed records of every experiment, trials included."""
    return {name: load_results(name) for name in sorted(set(recorded_experiments(EXPERIMENTS)))}


def sections(records: Mapping[str, Records], links: Mapping[str, str]) -> Iterator[tuple[Section, Study | None]]:
    """What the page says, in its order; with the study of those that have tabs."""
    for name in filter(records.__contains__, ANSWERS):
        study = study_of(name, records[name])
        page = answer.page(study)
        drawn = f'{answer.html(study, links)}\n<p class="note">{words(page.provenance)}</p>'
        yield Section(study.slug, study.title, page, drawn, shows_page=False), study
    waiting = []
    for name in (*TABLES, *PAGES):
        page = recorded_page(name)
        if page.provenance == NO_RUNS:
            waiting.append(experiment_title(name))
        else:
            yield Section(slug(name), experiment_title(name), page, figures([name], records)), None
    every = parts.joined(records.values())
    memory_of = [name for name in records if name.startswith(MEMORY)]
    yield Section("memory", "Memory", parts.memory(every.runs), figures(memory_of, records)), None
    timed = [name for name in records if name.startswith(STEPS)]
    steps = parts.steps(parts.joined(records[name] for name in timed).runs)
    elsewhere = figures([name for name in timed if name not in PAGES], records)
    yield Section("steps", "What a step costs", steps, elsewhere), None
    yield Section("step-cost", "A step beside its two forward passes", step_cost.page(step_cost.load_costs())), None
    for name, study, pair in tried(records):
        yield Section(f"map-{slug(name)}", study.title, maps.page(study, *pair), maps.html(study, *pair)), None
    yield Section("blanks", "Runs without a number", parts.without_a_number(every.runs)), None
    yield Section("superseded", "Superseded runs", parts.superseded(every, all_reasons(records))), None
    if waiting:
        told = f"Declared under experiments/, and without a run on record: {'; '.join(waiting)}."
        yield Section("waiting", "Not run yet", drawn=f"<p>{words(told)}</p>"), None


def tried(records: Mapping[str, Records]) -> Iterator[tuple[str, Study, tuple[str, str]]]:
    """The trials that chose two settings at once, such as a rate and the size of a probe, with these."""
    known = [one for one in comparisons(EXPERIMENTS) if len(one.settings) > 1 and one.tuning in records]
    for name, chosen in {one.tuning: one.settings.values() for one in known}.items():
        if records[name].runs.empty:
            continue
        study = own.study_of(records[name], "optimizer", "train_seconds", "dataset")
        pairs = [one for one in study.headings if one in chosen or one.removesuffix(".initial") in chosen]
        if len(pairs) == 2:
            yield name, replace(study, title=f"Trials of {experiment_title(name)}"), (pairs[0], pairs[1])


def all_reasons(records: Mapping[str, Records]) -> dict[str, str]:
    return {key: why for name, one in records.items() for key, why in reasons(name, one.runs).items()}


def slug(experiment: str) -> str:
    return experiment.replace("/", "-").replace("_", "-")


def study_of(experiment: str, records: Records) -> Study:
    """The methods of an experiment under each of its budgets."""
    chosen = records.of_profile(fullest_profile(records))
    chosen = chosen.only(chosen.runs["budget_bytes"].notna() & chosen.runs["cell_row"].notna())
    budgets = sorted(set(map(int, chosen.runs["budget_bytes"])))
    names = dict(zip(chosen.runs["budget_bytes"], chosen.runs["memory_budget"], strict=True))
    facets = [Facet(size, title_of(size, str(names[size])), size) for size in budgets]
    place = {row: number for number, row in enumerate(in_order(set(chosen.runs["cell_row"])))}
    groups = grouped(chosen, ["cell_row"], "budget_bytes", "train_seconds", by_row)
    groups = sorted(groups, key=lambda one: place[one.settings[0]])
    title = f"The answer: {subject(chosen.runs)}"
    behind = provenance(chosen.runs)
    return Study(f"answer-{slug(experiment)}", title, groups, facets, ["method"], "seconds of training", True, behind)


def title_of(size: int, name: str) -> str:
    """A budget by the size that it was set to, or in MiB."""
    return name if name[:1].isdigit() and not name.endswith("MiB") else budget_title(size)


def by_row(values: Sequence[Any]) -> tuple[str, Method]:
    drawn = method(str(values[0]))
    return drawn.title, drawn


def figures(experiments: Sequence[str], records: Mapping[str, Records]) -> str:
    """The figures of `make figures` that are of these experiments, drawn anew."""
    made = []
    for drawing in drawings(EXPERIMENTS):
        if drawing.experiment not in experiments or drawing.name in REDRAWN or drawing.experiment not in records:
            continue  # the last: nothing of it was recorded yet
        here = records[drawing.experiment]
        profile = fullest_profile(here)
        try:
            made.append(inlined(drawing.draw(here.of_profile(profile), profile), drawing.name))
        except NoRecords:
            continue
    return "\n".join(made)
