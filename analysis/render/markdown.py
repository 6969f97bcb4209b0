"""A page as markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ..page import Page, Table


def markdown(page: Page) -> str:
    return "\n\n".join([f"**{page.title}**", *map(block, page.said)]) + "\n"


def block(part: str | Table) -> str:
    if isinstance(part, str):
        return part
    rest = "---:" if part.numeric else "---"
    return "\n".join(map(line, [part.headings, ["---", *[rest] * (len(part.headings) - 1)], *part.rows]))


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
