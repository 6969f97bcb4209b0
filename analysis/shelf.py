"""The zeroth-order shelf: what each method reaches by equal work and in equal seconds, and what it holds for it.

How a method stands is read here for the shelf within budgets too, see `shelf_budgets`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .claims import READING as CLAIMS
from .claims import claims, claims_table, verdicts
from .curves import by_method
from .fine_tuning import reason
from .load import EXPERIMENTS, PROCESS, Records, load_results
from .names import method, subject
from .page import Backed, Page, table
from .protocol import superseded_reasons
from .statistics import Estimate, Improvement, estimate, improvement
from .tables import interval_text, ours_text, percent, profile_banner, provenance

BASELINE = "mezo"  # what the others extend
HEADERS = (
    *("method", "accuracy ± (n)", "95% interval", "a seed above MeZO's", "at equal seconds", "forward passes"),
    *("seconds", "beside inference", "trials"),
)
KIB = 2**10


@dataclass(frozen=True)
class Standing:
    """One method, over its seeds. Means; `beside_bytes` are the measured peak less that of inference on the same batch.

    above: how likely a seed of it ends above one of `against`, a row. early: the accuracy when the method that is done
    first is done. planned_bytes: the peak of a step rehearsed without data; measured_bytes: that of real ones;
    process_bytes: of the whole process meanwhile, Python and PyTorch among it. nan where it cannot be told. `note`
    says which seeds gave no result, and why. finals: the accuracy of each seed, by `examples` of the test set.
    """

    row: str
    against: str
    final: Estimate | None
    above: Improvement | None
    early: float
    passes: float
    seconds: float
    planned_bytes: float
    measured_bytes: float
    beside_bytes: float
    trials: int
    note: str
    runs: tuple[str, ...]
    finals: tuple[float, ...] = ()
    examples: int | None = None
    process_bytes: float = math.nan


def standings(
    records: Records, experiments: Path = EXPERIMENTS, extends: Callable[[str], str] = lambda _: BASELINE
) -> list[Standing]:
    """The methods, what others extend first and then from the most accurate to the least.

    extends: the row that a row is compared with.
    """
    finished = {row: part.only(part.runs["status"] == "finished") for row, part in by_method(records)}
    moment = equal_seconds(records)
    trials = trials_by_row(records, experiments)
    found = []
    for row, part in by_method(records):
        ended, runs = finished[row], finished[row].runs
        others = part.runs[part.runs["status"] != "finished"].to_dict("records")
        counted = runs["split_examples"].max()
        examples = int(counted) if pd.notna(counted) else None
        own, against = finals(ended), extends(row)
        base = finals(finished[against]) if against in finished else []
        found.append(
            Standing(
                row,
                against,
                final=estimate(own, examples) if own else None,
                above=improvement(own, base) if own and base and row != against else None,
                early=accuracy_at(ended, moment),
                passes=float(runs["forward_passes"].astype(float).mean()),
                seconds=float(runs["train_seconds"].mean()),
                planned_bytes=float(part.runs["peak_live_bytes"].astype(float).max()),
                measured_bytes=float(runs["measured_peak_bytes"].astype(float).max()),
                beside_bytes=beside_inference(runs),
                trials=trials.get(row, 0),
                note="; ".join(dict.fromkeys(map(reason, others))),
                runs=tuple(part.runs["key"]),
                finals=tuple(own),
                examples=examples,
                process_bytes=float(runs[PROCESS].astype(float).max()),
            )
        )
    return sorted(found, key=lambda one: (one.row != one.against, -one.final.mean if one.final else math.inf))


def finals(records: Records) -> list[float]:
    return records.runs["final_accuracy"].astype(float).tolist()


def beside_inference(runs: pd.DataFrame) -> float:
    peaks = runs["measured_peak_bytes"].astype(float) - runs["measured_inference_peak_bytes"].astype(float)
    return float(peaks.max())


def equal_seconds(records: Records) -> float:
    """The seconds of the method that is done first; nan where runs are of several machines, whose seconds differ."""
    runs = records.runs[records.runs["status"] == "finished"]
    machines = runs[["cpu", "capability", "device", "threads"]].drop_duplicates()
    if len(machines) != 1:
        return math.nan
    return float(runs.groupby("cell_row")["train_seconds"].mean().min())


def accuracy_at(records: Records, seconds: float) -> float:
    """The mean accuracy of the runs after so many seconds of training, between evaluations in proportion."""
    if math.isnan(seconds):
        return math.nan
    tracks = [track.sort_values("train_seconds") for _, track in records.evals.groupby("key")]
    reached = [np.interp(seconds, track["train_seconds"], track["accuracy"]) for track in tracks if len(track) > 1]
    return float(np.mean(reached)) if reached else math.nan


def trials_by_row(records: Records, experiments: Path = EXPERIMENTS) -> dict[str, int]:
    """How many trials of each method are committed and count, in the columns that `records` are of."""
    counts: dict[str, int] = {}
    columns = set(records.runs["cell_column"])
    for experiment in set(records.runs["experiment"].dropna()):
        paper, _, name = str(experiment).partition("/")
        tuning = f"{paper}/tuning/{name}"
        trials = load_results(tuning, experiments).runs
        superseded = superseded_reasons(tuning, trials.to_dict("records"), experiments)
        counted = trials["cell_column"].isin(columns) & ~trials["key"].isin(list(superseded))
        rows = trials.loc[counted, "cell_row"]
        counts |= {str(row): int(count) for row, count in rows.value_counts().items()}
    return counts


def page(records: Records, published: pd.DataFrame, profile: str) -> Page:
    """The methods as a table, and how to read it. Nothing is published of these models at these lengths."""
    title = "The zeroth-order shelf by equal work"
    if records.runs.empty:
        return Page(title, (), provenance(records.runs))
    found = standings(records)
    parts = (
        profile_banner(profile, records.runs),
        table(HEADERS, [line(one) for one in found]),
        reading(equal_seconds(records)),
        claims_table({"": verdicts(found, claims())}),
        CLAIMS,
    )
    named = f"{title}: {subject(records.runs)}"
    return Page(named, parts, provenance(records.runs), {"": data(found, profile)})


def reading(moment: float) -> str:
    at = (
        "are not told, for the runs are of several machines"
        if math.isnan(moment)
        else f"are {moment:.3g} s of training"
    )
    return (
        "Every run does the work of as many forward passes as MeZO's; a method that differentiates, or backpropagates, "
        f"makes fewer of them. Equal seconds {at}. Beside inference: the measured peak less that of a forward pass on "
        "the same batch. A seed above MeZO's: of all pairs of seeds, with a 95% interval (bootstrap)."
    )


def line(one: Standing) -> list[str]:
    result = f"{ours_text(one.final)} {one.note}".strip() if one.final else one.note or "–"
    return [
        method(one.row).title,
        Backed(result, one.runs),
        interval_text(one.final) or "–",
        above_text(one.above),
        "–" if math.isnan(one.early) else percent(one.early),
        "–" if math.isnan(one.passes) else f"{one.passes:,.0f}",
        "–" if math.isnan(one.seconds) else f"{one.seconds:.3g}",
        "–" if math.isnan(one.beside_bytes) else f"{one.beside_bytes / KIB:,.0f} KiB",
        str(one.trials),
    ]


def front(points: Sequence[tuple[float, ...]]) -> set[int]:
    """The places of (costs …, accuracy) than which no other point is as good in all and better in one."""
    return {
        place
        for place, (*costs, accuracy) in enumerate(points)
        if not any(
            all(other <= own for other, own in zip(others, costs, strict=True))
            and reached >= accuracy
            and (*others, reached) != (*costs, accuracy)
            for *others, reached in points
        )
    }


def above_text(above: Improvement | None) -> str:
    if above is None:
        return "–"
    known = "" if math.isnan(above.low) else f" ({above.low:.0%} – {above.high:.0%})"
    return f"{above.probability:.0%}{known}"


def data(found: list[Standing], profile: str) -> pd.DataFrame:
    """A row for each method; accuracies and probabilities are fractions."""
    parts = ("mean", "spread", "n", "low", "high", "interval")
    plain = ("row", "early", "passes", "seconds", "beside_bytes", "trials", "note")
    rows = [
        {
            "profile": profile,
            **{name: value for name, value in asdict(one).items() if name in plain},
            **{part: getattr(one.final, part) if one.final else math.nan for part in parts},
            "above_mezo": one.above.probability if one.above else math.nan,
        }
        for one in found
    ]
    return pd.DataFrame(rows).round(6)
