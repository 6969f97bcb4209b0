"""Makes the report: `index.html`, a page for each run, every table as CSV and LaTeX, and all runs and evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..load import WORK, Records
from ..render.data import csv
from . import committed, own, parts
from .answer import Study
from .groups import held_bytes
from .run_page import address, run_page
from .shell import HERE, Section, files, index, run_list, style

REPORT = WORK / "report"
MARK = "made by tightfit report"  # the first line of the style, by which a folder is known as a report


def make(
    out: Path = REPORT,
    of: Records | None = None,
    group: str = "optimizer",
    x: str = "train_seconds",
    facet: str = "memory_budget",
    map: str | None = None,
) -> Path:
    """Write the report to `out` and return its first page: of the committed records, or of a user's own.

    of: the user's own runs. Raises ValueError for what is no setting of them, and where `out` holds something else.
    """
    check_place(out)
    if of is None:
        every = committed.load_committed()
        records, reasons = parts.joined(every.values()), committed.all_reasons(every)
        links = addresses(records)
        found = list(committed.sections(every, links))
        title, lead = committed.TITLE, committed.LEAD
    else:
        records, reasons = of, {}
        links = addresses(records)
        found = list(own.sections(records, links, group, x, facet, map))
        title, lead = own.TITLE, f"{len(records.runs)} runs. {own.LEAD}"
    return write(out, title, lead, found, records, links, reasons)


def check_place(out: Path) -> None:
    """Raise ValueError where `out` is a folder with anything in it that is no report."""
    made = out / "style.css"
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not is_ours(made))):
        raise ValueError(f"out={out} holds something that is no report; name a new or an empty folder")


def is_ours(path: Path) -> bool:
    return path.exists() and path.read_text().startswith(f"/* {MARK} */")


def addresses(records: Records) -> dict[str, str]:
    return {key: address(key) for key in records.full}


def write(
    out: Path,
    title: str,
    lead: str,
    found: list[tuple[Section, Study | None]],
    records: Records,
    links: Mapping[str, str],
    reasons: Mapping[str, str],
) -> Path:
    sections = [section for section, _ in found if section.page is not None or section.drawn]
    tabs = {study.slug: len(study.facets) for _, study in found if study is not None}
    for folder in ("runs", "tables"):
        (out / folder).mkdir(parents=True, exist_ok=True)
        for old in (out / folder).iterdir():
            old.unlink()
    put(out / "style.css", f"/* {MARK} */\n{style(tabs)}")
    put(out / "script.js", (HERE / "script.js").read_text())
    for section in sections:
        for name, content in files(section).items():
            put(out / name, content)
    evals = {str(key): rows for key, rows in records.evals.groupby("key", sort=False)}
    for key, record in records.full.items():
        put(out / address(key), run_page(record, evals.get(key), reasons.get(key, "")))
    put(out / "runs.csv", csv(records.runs))
    put(out / "evals.csv", csv(records.evals))
    held = {key: held_bytes(record) for key, record in records.full.items()}
    listed = run_list(parts.HEADINGS, parts.rows(newest_first(records.runs), held))
    put(out / "index.html", index(title, lead, sections, listed, links))
    return out / "index.html"


def newest_first(runs: pd.DataFrame) -> pd.DataFrame:
    return runs.sort_values("started_at", ascending=False, kind="stable")


def put(path: Path, content: str) -> None:
    """Write `content`; a character that no file can hold, which a record may name, becomes a question mark."""
    path.write_text(content, encoding="utf-8", errors="replace")
