"""The sections of a user's own runs: what differs between them tells them apart, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..explain import TOLD_APART
from ..load import Records, flat, load_folders
from ..names import METHODS, Method, subject
from ..palette import COLORS, SCALE
from ..render.terminal import terminal
from ..tables import provenance
from . import answer, maps, parts
from .answer import Facet, Study
from .groups import grouped, written
from .shell import Section

TITLE = "Which of your runs gives the best model for its bytes?"
LEAD = (
    "Choose a tab: the first picture shows what accuracy the bytes buy, the second when. Groups are of seeds: whatever "
    "else differs between runs is a column. Every number links to its runs."
)
OVER = {
    "train_seconds": "seconds of training",
    "step": "step",
    "epoch": "epoch",
    "forward_passes": "forward passes",
}  # what courses can be over
APART = ("seed", "experiment", "cell", "cell.row", "cell.column")  # settings that do not tell methods apart
SIZE = "memory_budget"
COLORS_IN_TURN = tuple(dict.fromkeys([*COLORS.values(), *SCALE]))[1:]  # for values that have no colour of their own


def load_own(folder: Path) -> Records:
    """Every run in `folder`, at whatever depth; one warning for each that cannot be read.

    Raises ValueError where there is none.
    """
    records = load_folders(path.parent for path in sorted(folder.glob("**/run.json")))
    if not records.full:
        raise ValueError(f"runs={folder} has no run in it; name a folder of runs, such as runs/scratch")
    return records


def sections(
    records: Records, links: Mapping[str, str], group: str, x: str, facet: str, map: str | None = None
) -> Iterator[tuple[Section, Study | None]]:
    """The answer, what is predicted and measured, and what has no number."""
    study = study_of(records, group, x, facet)
    page = answer.page(study)
    yield Section(study.slug, study.title, page, answer.html(study, links), False), study
    if map:
        pair = maps.pair_of(map, study)
        yield Section("map", "Map", maps.page(study, *pair), maps.html(study, *pair)), None
    found = {
        "memory": ("Memory", parts.memory(records.runs)),
        "steps": ("What a step costs", parts.steps(records.runs)),
        "blanks": ("Runs without a number", parts.without_a_number(records.runs)),
    }
    for slug, (title, known) in found.items():
        if known is not None:
            yield Section(slug, title, known), None


def study_of(records: Records, group: str, x: str, facet: str) -> Study:
    """Each combination of the settings that differ is a group. Raises ValueError for what is no setting."""
    settings = pd.DataFrame([settings_of(records.full[key]) for key in records.runs["key"]], index=records.runs.index)
    check(x, "x", OVER)
    check_on_record(x, records.evals)
    for name, said in (("group", group), ("facet", facet)):
        check(said, name, settings.columns)
    names = telling_apart(settings, group, facet)
    sizes = sizes_of(records.runs, settings[facet], facet)
    values = settings[[*names, facet]].map(written)
    runs = records.runs.drop(columns=[name for name in values.columns if name in records.runs]).join(values)
    ordered = Records(runs.sort_values("key", kind="stable"), records.evals, records.full)
    drawn = drawn_by(sorted(set(values[group])))
    groups = grouped(ordered, names, facet, x, lambda found: called(found, drawn[str(found[0])]))
    shown = sorted(set(values[facet]), key=lambda value: (sizes.get(value) or 0.0, value))
    facets = [Facet(value, f"{facet.replace('_', ' ')} {value}", sizes.get(value)) for value in shown]
    title = f"Your runs: {subject(records.runs)}"
    groups = sorted(groups, key=lambda one: one.settings)
    behind = provenance(records.runs, per=("key",))
    return Study("answer", title, groups, facets, names, OVER[x], x == "train_seconds", behind)


def map_in_words(records: Records, group: str, x: str, facet: str, map: str) -> str:
    """The maps over the two settings `map` as tables of text."""
    study = study_of(records, group, x, facet)
    return terminal(maps.page(study, *maps.pair_of(map, study)))


def check(said: str, name: str, known: Sequence[str] | Mapping[str, str] | pd.Index) -> None:
    if said not in known:
        raise ValueError(f"{name}={said} is no setting of these runs; choose {', '.join(sorted(known))}")


def check_on_record(x: str, evals: pd.DataFrame) -> None:
    """Raise ValueError where no evaluation says how far it was by `x`: records of long ago count no passes."""
    if len(evals) and evals[x].isna().all():
        told = ", ".join(sorted(name for name in OVER if evals[name].notna().any()))
        raise ValueError(f"x={x} is not on record of these runs; choose {told}")


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run by their places; a part goes by its own name, `optimizer` and not `optimizer.name`."""
    config = {name: value for name, value in record["config"].items() if name not in TOLD_APART}
    known = {name: value for name, value in flat(config).items() if not name.endswith(("_target_", ".title"))}
    return {name.removesuffix(".name"): plain(value) for name, value in known.items()}


def plain(value: Any) -> Any:
    """`value` as one that can be told apart from others."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def telling_apart(settings: pd.DataFrame, group: str, facet: str) -> list[str]:
    """`group`, and each setting that tells runs apart which those before it do not."""
    known = settings.drop(columns=[name for name in APART if name in settings]).map(written)
    names = [group]
    for name in known.columns:
        before = known[[*names, facet]].drop_duplicates()
        if name not in (*names, facet) and len(known[[*names, facet, name]].drop_duplicates()) > len(before):
            names.append(name)
    return names


def sizes_of(runs: pd.DataFrame, values: pd.Series, facet: str) -> dict[str, float]:
    """The bytes of each budget, where tabs are budgets."""
    if not facet.startswith(SIZE):
        return {}
    known = zip(values.map(written), runs["budget_bytes"], strict=True)
    return {value: float(size) for value, size in known if not pd.isna(size)}


def drawn_by(values: Sequence[str]) -> dict[str, Method]:
    """A colour for each value: that of the method of this name, or the next of the palette."""
    others = [value for value in values if value not in METHODS]
    turns = {value: COLORS_IN_TURN[place % len(COLORS_IN_TURN)] for place, value in enumerate(others)}
    known = {value: METHODS[value] for value in values if value in METHODS}
    return {
        value: replace(known[value], title=value) if value in known else Method(value, value, turns[value])
        for value in values
    }


def called(values: Sequence[Any], drawn: Method) -> tuple[str, Method]:
    return ", ".join([drawn.title, *map(str, values[1:])]), drawn
