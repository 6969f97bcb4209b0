"""A paper's table in a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from .names import column_title, method
from .tables import Cell, ResultTable, difference_text, footnotes, interval_text, ours_of, ours_text, percent


def render_terminal(table: ResultTable) -> RichTable:
    """The table for a terminal: a section for each column of the paper's, a line for each method."""
    caption = "\n".join([table.provenance, *footnotes(table)])
    rich = RichTable(title=table.title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left")
    rich.caption_justify = "left"
    rich.add_column("", overflow="fold")
    for name in ("ours ± spread\n(n seeds)", "95% interval", "published", "difference"):
        rich.add_column(name, justify="right", overflow="fold")
    if table.shows_recorded:
        rich.add_column("recorded,\npaper profile", justify="right", style="cyan", overflow="fold")
    for column in table.columns:
        rich.add_row(Text(column_title(column), style="bold"))
        for cell in table.of(column):
            rich.add_row(*terminal_row(cell, table.shows_recorded))
        rich.add_section()
    return rich


def terminal_row(cell: Cell, shows_recorded: bool) -> list[Text]:
    ours = Text(ours_of(cell) if cell.ours else cell.note or "–", style="bold" if cell.ours else "dim italic")
    if cell.ours and cell.note:
        ours.append(f"\n{cell.note}", style="dim italic")
    color = {"above": "green", "below": "yellow"}.get(cell.verdict, "")
    texts = [
        Text(f"  {method(cell.row).title}"),
        ours,
        Text(interval_text(cell.ours), style="dim"),
        Text(percent(cell.published)),
        Text(difference_text(cell), style=color),
    ]
    return [*texts, Text(ours_text(cell.recorded))] if shows_recorded else texts
