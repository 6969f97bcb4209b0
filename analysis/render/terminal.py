"""A page for a terminal: plain text with columns that line up. No cell is cut; a wide table has long lines."""

from __future__ import annotations

from ..page import Page, Table


def terminal(page: Page) -> str:
    return "\n\n".join([page.title, *map(block, page.said)]) + "\n"


def block(part: str | Table) -> str:
    if isinstance(part, str):
        return part
    widths = [max(map(len, column)) for column in zip(part.headings, *part.rows, strict=True)]
    lines = [part.headings, ["─" * width for width in widths], *part.rows]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in lines)
