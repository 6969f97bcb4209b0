"""A page as LaTeX: its tables as `tabular`, ready to be included in a paper."""

from __future__ import annotations

from collections.abc import Sequence

from ..page import Page, Table

SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "ρ": r"$\rho$",
    "·": r"$\cdot$",
    "→": r"$\rightarrow$",
    "●": r"$\bullet$",
    "−": "$-$",
}


def latex(page: Page) -> str:
    return "\n\n".join([rf"\textbf{{{escaped(page.title)}}}", *map(block, page.said)]) + "\n"


def block(part: str | Table) -> str:
    if isinstance(part, str):
        return escaped(part)
    rows = [line(row) for row in part.rows]
    columns = "l" + ("r" if part.numeric else "l") * (len(part.headings) - 1)
    head = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", line(part.headings), r"\hline"]
    return "\n".join([*head, *rows, r"\hline", r"\end{tabular}"])


def line(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """`text` with what LaTeX would read as a command written out; a line end, which ends a paragraph, is a space."""
    return "".join(SPECIAL.get(sign, sign if sign.isprintable() else " ") for sign in text)
