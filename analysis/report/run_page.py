"""A page of one run: its curves, all that is known of it, the command that makes it again, and the record itself."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..collect import for_all
from ..explain import again, facts_of
from ..names import experiment_title
from ..palette import COLORS
from ..render.html import words
from .axes import Axis, axis
from .pictures import Line, curves
from .shell import document

PLAIN = re.compile(r"[\w-]{1,64}", re.ASCII)


def address(key: str) -> str:
    """Where the page of the run is in the report. A key that is no plain word goes by its digest."""
    name = key if PLAIN.fullmatch(key) else hashlib.sha256(key.encode(errors="replace")).hexdigest()[:12]
    return f"runs/{name}.html"


def run_page(record: Mapping[str, Any], evals: pd.DataFrame | None, standing: str = "") -> str:
    """The page of a run; standing: why it is superseded, where it is."""
    record = for_all(record)
    facts = {"experiment": experiment_title(record["experiment"]), "standing": standing, **facts_of(record)}
    facts.pop("again", None)
    rows = "\n".join(f"<dt>{name}</dt><dd>{words(value)}</dd>" for name, value in facts.items() if value)
    title = f"Run {record['key']}: {record['status']}"
    baseline = (record.get("dataset") or {}).get("majority_accuracy")
    body = (
        f'<nav><a href="../index.html">All answers</a> <a href="../index.html#runs">All runs</a></nav>\n'
        f"<h1>{words(title)}</h1>\n{pictures(evals, baseline)}\n<dl>{rows}</dl>\n"
        f"<h2>The command that makes it again</h2>\n<pre>{words(again(record))}</pre>\n"
        f"<details><summary>The whole record</summary><pre>{raw(record)}</pre></details>"
    )
    return document(title, body, within="../")


def raw(record: Mapping[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))
    return text.replace("&", "&amp;").replace("<", "&lt;")


def pictures(evals: pd.DataFrame | None, baseline: float | None) -> str:
    """Accuracy by seconds of training, and both losses by step; nothing of a run that was not scored twice.

    baseline: what always giving the most frequent class is right for.
    """
    if evals is None or len(evals) < 2:
        return ""
    color = COLORS["backprop"]
    levels = [] if baseline is None else [baseline]
    shares = axis("accuracy (%)", "linear", [*evals["accuracy"].dropna(), *levels], lambda share: f"{100 * share:.3g}")
    losses = pd.concat([evals["train_loss"], evals["loss"]]).dropna()
    drawn = [
        picture("accuracy", evals, {"accuracy": color}, "train_seconds", "seconds of training", shares, str, levels),
        picture(
            "loss",
            evals,
            {"train_loss": COLORS["none"], "loss": color},
            "step",
            "step",
            axis("loss (nats)", "linear", losses),
            {"train_loss": "training", "loss": "scored"}.__getitem__,
        ),
    ]
    return f'<div class="pair">{"".join(drawn)}</div>'


def picture(
    title: str,
    evals: pd.DataFrame,
    columns: Mapping[str, str],
    over: str,
    label: str,
    y: Axis,
    named: Callable[[str], str] = str,
    levels: Sequence[float] = (),
) -> str:
    lines = []
    for column, color in columns.items():
        known = evals.dropna(subset=[over, column]).sort_values("step")
        values = known[column].to_numpy(float)
        kept = np.isfinite(values)
        if kept.sum() > 1:
            values, x = values[kept], known[over].to_numpy(float)[kept]
            lines.append(Line(named(column), color, "-", x, values, values, values))
    x = axis(label, "linear", [end for line in lines for end in (line.x[0], line.x[-1])])
    return curves(lines, x, y, f"{title} by {label}", levels)
