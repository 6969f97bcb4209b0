"""A page as HTML: its tables with the runs behind each cell linked. All words are escaped, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from ..page import Backed, Page, Table

EMPHASIS = re.compile(r"\*([^*]+)\*")  # as in markdown
Links = Mapping[str, str]  # the address of each run's own page, by its key


def html(page: Page, links: Links | None = None) -> str:
    return "\n".join(block(part, page.title, links or {}) for part in page.said)


def block(part: str | Table, title: str, links: Links) -> str:
    if isinstance(part, str):
        return f"<p>{words(part)}</p>"
    kind = ' class="numeric"' if part.numeric else ""
    head = "".join(f'<th scope="col">{words(heading)}</th>' for heading in part.headings)
    body = "\n".join(f"<tr>{line(row, links)}</tr>" for row in part.rows)
    caption = f'<caption class="aside">{words(title)}</caption>'
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{attribute(title)}"><table{kind}>{caption}\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def line(row: tuple[str, ...], links: Links) -> str:
    first, *rest = row
    return f'<th scope="row">{cell(first, links)}</th>' + "".join(f"<td>{cell(text, links)}</td>" for text in rest)


def cell(text: str, links: Links) -> str:
    """One run is behind the words themselves, several stand after them by their numbers."""
    known = [links[key] for key in text.runs if key in links] if isinstance(text, Backed) else []
    if len(known) == 1:
        return f'<a href="{attribute(known[0])}">{words(text)}</a>'
    numbered = (f'<a href="{attribute(address)}">{number}</a>' for number, address in enumerate(known, 1))
    behind = f' <span class="runs" aria-label="its runs">{" ".join(numbered)}</span>' if known else ""
    return words(text) + behind


def words(text: str) -> str:
    """`text`, of which only *emphasis* is anything but plain."""
    return EMPHASIS.sub(r"<em>\1</em>", escape(text, quote=False))


def attribute(text: str) -> str:
    return escape(text, quote=True)
