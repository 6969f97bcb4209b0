"""What the report of many runs costs to open: `tightfit bench part=page`, where playwright and a chromium are.

Aim, for 10,000 made-up runs of 100 evaluations: the page answers within 2 seconds from disk, and so does a search in
the list of all runs.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tightfit.bench.evidence import append
from tightfit.commands.words import WrongWords
from tightfit.records.places import analysis

SIZES = (1_000, 10_000)
TIMES = 5  # that a page is opened, each in a context without a cache; the first counts like the others
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
INTERACTIVE = "performance.getEntriesByType('navigation')[0].domInteractive"


def measure_all(csv: str | None) -> None:
    """Show, and append to the file `csv`, the seconds until each page answers, the median of some and the most.

    Raises WrongWords where there is no browser.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if find_spec("playwright") is None:
        raise WrongWords("part=page needs playwright; pip install playwright")
    if browser is None:
        raise WrongWords(f"part=page needs a browser; put one of {', '.join(BROWSERS)} on the PATH")
    rows = []
    with import_module("playwright.sync_api").sync_playwright() as playwright, tempfile.TemporaryDirectory() as place:
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for runs in SIZES:
            page = written(Path(place) / str(runs), runs)
            rows.append({"runs": runs, "page_mib": round(page.stat().st_size / 2**20, 2), **timed(opened, page)})
        opened.close()
    table = Table("runs", "page (MiB)", "answers (s)", "at most (s)", "finds (s)", "at most (s)")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    append(csv, rows)


def written(place: Path, runs: int) -> Path:
    """The first page of a report of `runs` made-up runs, in `place`."""
    place.mkdir()
    analysis("made_up").make_up(place / "runs", runs)
    return analysis("report").make(place / "report", analysis("report.own").load_own(place / "runs"))


def timed(browser: Any, page: Path) -> dict[str, float]:
    """Seconds until the page answers, and until the list shows what a word is searched for by."""
    answers, finds = [], []
    for _ in range(TIMES):
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(page.as_uri())
        answers.append(tab.evaluate(INTERACTIVE) / 1000)
        began = time.perf_counter()
        tab.fill("input[type=search]", "mezo")
        tab.wait_for_function("document.querySelector('output').textContent.includes('shown')")
        finds.append(time.perf_counter() - began)
        context.close()
    return {
        "answers_median": round(statistics.median(answers), 3),
        "answers_most": round(max(answers), 3),
        "finds_median": round(statistics.median(finds), 3),
        "finds_most": round(max(finds), 3),
    }
