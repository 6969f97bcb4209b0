"""The numbers of `fine_tuning` as a page."""

from __future__ import annotations

import math

import pandas as pd

from .fine_tuning import ZERO_SHOT, Contender, Crossing, Target, contenders, crossings, target_of
from .load import Records
from .names import mebibytes, method, model_title, subject
from .page import Backed, Page, Table, table
from .statistics import HOW_BOTH, Times, performance_profile
from .tables import ONE_SEED, interval_text, ours_text, percent, profile_banner, provenance

FACTORS = (1.0, 2.0, 4.0)  # of the fastest method's time to the target
HEADERS = (
    *("budget", "method", "model", "batch", "accuracy ± (n)", "95% interval", "s to target"),
    *("steps", "forwards per step", "forwards in all", "need", "process"),
)


def page(records: Records, theory: pd.DataFrame, profile: str) -> Page:
    """All contenders, what they overtake, and how to read both."""
    target, found, overtaken = target_of(records), contenders(records, theory), crossings(records)
    rows = [*([zero_shot_line(target)] if target else []), *map(line, found)]
    parts = (
        profile_banner(profile, records.runs),
        legend(target),
        table(HEADERS, rows),
        crossings_table(overtaken),
        profile_table(found),
        ONE_SEED,
    )
    title = f"On-device fine-tuning at fixed memory budgets: {subject(records.runs)}"
    data = {"": contenders_data(found, target, profile), "_crossings": crossings_data(overtaken)}
    return Page(title, parts, provenance(records.runs), data)


def crossings_table(overtaken: list[Crossing]) -> Table | str:
    headings = ("budget", "without backpropagation", "overtakes", "after (s)")
    return table(headings, map(crossing_line, overtaken)) if overtaken else ""


def profile_table(found: list[Contender]) -> Table | str:
    """In what part of the budgets each method gets to the target nearly as soon as the fastest; for several budgets."""
    seconds = {(one.row, one.budget): one.to_target.median for one in found if one.to_target.tries}
    if len({budget for _, budget in seconds}) < 2:
        return ""
    headings = ("performance profile", *(f"within {factor:g} × the fastest" for factor in FACTORS))
    shares = performance_profile(seconds, FACTORS).items()
    return table(headings, ([method(row).title, *(f"{100 * share:.0f}%" for share in parts)] for row, parts in shares))


def legend(target: Target | None) -> str:
    goal = f", {percent(target.accuracy)}%" if target else ""
    return (
        f"Target: the end of the 95% interval of zero-shot{goal}. Need: the most bytes of tensors alive at once, on "
        "the longest prompts. Process: the most that the whole process held meanwhile, Python and PyTorch included, "
        "where that was recorded. Forwards per step: derived, and measured as a step's seconds by those of one of its "
        "forward passes. Times over several seeds: median, lowest – highest, and in how many cases; where it did not "
        "happen the time is infinite. A target is seen at an evaluation, of which each run has few; between them "
        f"crossings are those of straight lines. {HOW_BOTH} "
        f"Without backpropagation: the runs recorded no backward pass.{scored(target)}"
    )


def scored(target: Target | None) -> str:
    """On how many sentences accuracies are counted, and where the whole test set is."""
    return f" All scored on {target.examples:,} sentences; for the whole test set see the gains." if target else ""


def zero_shot_line(target: Target) -> list[str]:
    interval = f"{percent(target.low)} – {percent(target.accuracy)}†"
    known = ["any", method(ZERO_SHOT).title, model_title(target.model), "–", percent(target.zero_shot), interval]
    return [*known, *["–"] * (len(HEADERS) - len(known))]


def line(one: Contender) -> list[str]:
    known = not math.isnan(one.steps)
    return [
        one.budget,
        method(one.row).title,
        model_title(one.model),
        str(one.batch_size) if known else "–",
        Backed(f"{ours_text(one.final)} {one.note}".strip() if one.final else one.note, one.runs),
        interval_text(one.final),
        times_text(one.to_target),
        f"{one.steps:.0f}" if known else "–",
        f"{one.forwards_in_theory:g}, measured {one.forwards_measured:.2f}" if known else "–",
        f"{one.forwards:.0f}" if known else "–",
        *("–" if math.isnan(size) else mebibytes(size) for size in (one.need_bytes, one.process_bytes)),
    ]


def crossing_line(crossing: Crossing) -> list[str]:
    names = [method(row).title for row in (crossing.row, crossing.overtaken)]
    return [crossing.budget, *names, overtaking_text(crossing.at)]


def overtaking_text(times: Times) -> str:
    if times.seconds and not any(times.seconds):
        return f"ahead all along, {len(times.seconds)} of {times.tries}"
    return times_text(times)


def times_text(times: Times) -> str:
    """`312 (210 – never), 8 of 9`."""
    if not times.tries:
        return "–"
    low, middle, high = map(seconds_text, (min(times.all), times.median, max(times.all)))
    spread = f" ({low} – {high})" if low != high else ""
    return f"{middle}{spread}, {len(times.seconds)} of {times.tries}"


def seconds_text(seconds: float) -> str:
    return "never" if math.isinf(seconds) else f"{seconds:.0f}"


def contenders_data(found: list[Contender], target: Target | None, profile: str) -> pd.DataFrame:
    """A row for each contender; accuracies are fractions, times seconds."""
    rows = [
        {
            "profile": profile,
            "budget": one.budget,
            "row": one.row,
            "model": one.model,
            "batch_size": one.batch_size,
            "zero_shot": target.zero_shot if target else math.nan,
            "target": target.accuracy if target else math.nan,
            **{
                name: getattr(one.final, name) if one.final else math.nan
                for name in ("mean", "spread", "n", "low", "high", "interval")
            },
            **times_fields("to_target", one.to_target),
            "steps": one.steps,
            "forwards_in_theory": one.forwards_in_theory,
            "forwards_measured": one.forwards_measured,
            "forwards": one.forwards,
            "need_bytes": one.need_bytes,
            "process_bytes": one.process_bytes,
            "note": one.note,
        }
        for one in found
    ]
    return pd.DataFrame(rows).round(6)


def crossings_data(overtaken: list[Crossing]) -> pd.DataFrame:
    rows = [
        {"budget": one.budget, "row": one.row, "overtaken": one.overtaken, **times_fields("at", one.at)}
        for one in overtaken
    ]
    columns = ["budget", "row", "overtaken", "at_median", "at_low", "at_high", "at_cases", "at_tries"]
    return pd.DataFrame(rows, columns=columns).round(3)


def times_fields(name: str, times: Times) -> dict[str, float]:
    return {
        f"{name}_median": times.median,
        f"{name}_low": min(times.all, default=math.nan),
        f"{name}_high": max(times.all, default=math.nan),
        f"{name}_cases": len(times.seconds),
        f"{name}_tries": times.tries,
    }
