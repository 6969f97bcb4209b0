"""What all pages of the report share: the document around them, the style, the list of runs, and their downloads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import palette
from ..page import Page
from ..render.data import csv
from ..render.html import attribute, html, words
from ..render.latex import latex

HERE = Path(__file__).parent
LISTED = 100  # runs of the list that are shown at once


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading. drawn: HTML after the page's own words, or instead of them."""

    slug: str
    title: str
    page: Page | None = None
    drawn: str = ""
    shows_page: bool = True


def document(title: str, body: str, within: str = "") -> str:
    """A whole page of HTML; within: the way to the report's folder."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{words(title)}</title>\n<link rel="icon" href="data:,">\n'
        f'<link rel="stylesheet" href="{within}style.css">\n</head>\n'
        f'<body>\n<main>\n{body}\n</main>\n<script src="{within}script.js"></script>\n</body>\n</html>\n'
    )


def index(title: str, lead: str, sections: Sequence[Section], listed: str, links: Mapping[str, str]) -> str:
    """The first page: what it is, where what is, and the sections."""
    ways = [(one.slug, one.title) for one in sections] + [("runs", "All runs")]
    nav = " ".join(f'<a href="#{slug}">{words(name)}</a>' for slug, name in ways)
    parts = "\n".join(section(one, links) for one in sections)
    return document(title, f"<h1>{words(title)}</h1>\n<p>{words(lead)}</p>\n<nav>{nav}</nav>\n{parts}\n{listed}")


def section(one: Section, links: Mapping[str, str]) -> str:
    shown = html(one.page, links) if one.page and one.shows_page else ""
    got = f'<p class="downloads">{downloads(one)}</p>' if one.page else ""
    heading = one.page.title if one.page else one.title
    return f'<section id="{one.slug}">\n<h2>{words(heading)}</h2>\n{shown}\n{one.drawn}\n{got}\n</section>'


def downloads(one: Section) -> str:
    return "This as " + " ".join(
        f'<a download href="{name}">{words(name.partition("/")[2])}</a>' for name in files(one)
    )


def files(one: Section) -> dict[str, str]:
    """The tables of a section as CSV and LaTeX, by where they lie in the report's folder."""
    if one.page is None:
        return {}
    found = {f"tables/{one.slug}{name}.csv": csv(frame) for name, frame in one.page.data.items()}
    return {**found, f"tables/{one.slug}.tex": latex(one.page)}


def run_list(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The list of all runs: the address of each first. The script shows those asked for, the first need none."""
    packed = json.dumps({"rows": rows}, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    head = "".join(f'<th scope="col"><button type="button">{words(heading)}</button></th>' for heading in headings)
    first = "\n".join(listed(row) for row in rows[:LISTED])
    return (
        f'<section id="runs">\n<h2>All runs</h2>\n<p class="search"><label>Show runs with '
        f'<input type="search" placeholder="words, such as mezo 1.5MiB"></label> <output></output> '
        f'<a download href="runs.csv">runs.csv</a> <a download href="evals.csv">evals.csv</a></p>\n'
        f'<div class="wide" tabindex="0" role="region" aria-label="All runs"><table data-most="{LISTED}">'
        f'<caption class="aside">All runs</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{first}\n</tbody></table></div>\n"
        f"<noscript><p>Without scripts the first {LISTED} are listed; runs.csv has all {len(rows)}.</p></noscript>\n"
        f'<script type="application/json" id="packed">{packed}</script>\n</section>'
    )


def listed(row: Sequence[str]) -> str:
    address, first, *rest = row
    cells = "".join(f"<td>{words(text)}</td>" for text in rest)
    return f'<tr><th scope="row"><a href="{attribute(address)}">{words(first)}</a></th>{cells}</tr>'


def style(tabs: Mapping[str, int]) -> str:
    """The style's file, with the palette in light and in dark, and which panel each tab shows."""
    every = {*palette.COLORS.values(), *palette.SCALE, *palette.KIND_COLORS.values(), *palette.PHASE_COLORS.values()}
    every |= {palette.GREY, palette.PAPER, palette.INK, *drawn_colors()}
    light = colors((color, color) for color in sorted(every))
    dark = colors((color, palette.on_dark(color)) for color in sorted(every))
    shown = "\n".join(
        f"#{slug}-{number}:checked ~ .panel:nth-of-type({number + 1}) {{ display: block; }}"
        for slug, count in tabs.items()
        for number in range(count)
    )
    return (
        f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"{(HERE / 'style.css').read_text()}\n{shown}\n"
    )


def drawn_colors() -> set[str]:
    """What `style.py` draws frames and grids in."""
    from ..style import RC

    return {value for value in RC.values() if isinstance(value, str) and value.startswith("#")}


def colors(pairs: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"--c{name.lstrip('#').lower()}: {color};" for name, color in pairs)
