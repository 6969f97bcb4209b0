"""What fits where: `tightfit plan device=phone_4gb model=llama2_7b,gpt2_medium optimizer=bp_adam,mezo`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tightfit.commands import DONE, forward, refuse
from tightfit.commands.help import help_of
from tightfit.commands.verbs import PLAN
from tightfit.commands.words import asks_for_help


def main(words: Sequence[str]) -> int:
    """Print the plan that `words` ask for; the exit code."""
    if asks_for_help(words):
        print(help_of(PLAN))
        return DONE
    from tightfit.plan.question import answers, parse  # help need not wait for torch
    from tightfit.plan.show import draw, print_csv, print_json, print_table

    complaints: dict[str, str] = {}  # by the combination
    try:
        question = parse(words)
        rows = list(answers(question, complaints.setdefault))
        if not rows:
            raise ValueError(next(iter(complaints.values())))
        {"table": print_table, "json": print_json, "csv": print_csv}[question.format](rows, question.assumptions)
        if question.picture:
            draw(rows, question.picture)
    except ValueError as error:
        return refuse(str(error).splitlines()[0])
    for combination, complaint in complaints.items():
        print(f"left out: {combination}: {complaint.splitlines()[0]}", file=sys.stderr)
    return DONE


if __name__ == "__main__":
    forward("plan")
