"""What fits where: `tightfit plan device=phone_4gb model=llama2_7b,gpt2_medium optimizer=bp_adam,mezo`."""

from __future__ import annotations

from collections.abc import Sequence

from tightfit.commands import DONE, forward, refuse
from tightfit.commands.help import help_of
from tightfit.commands.verbs import PLAN
from tightfit.plan.question import answers, assumptions_of, parse
from tightfit.plan.show import draw, print_csv, print_json, print_table
from tightfit.settings import asks_for_help


def main(words: Sequence[str]) -> int:
    """Print the plan that `words` ask for; the exit code."""
    if asks_for_help(words):
        print(help_of(PLAN))
        return DONE
    try:
        question = parse(words)
        rows, assumptions = list(answers(question)), assumptions_of(question)
        {"table": print_table, "json": print_json, "csv": print_csv}[question.format](rows, assumptions)
        if question.picture:
            draw(rows, question.picture)
    except ValueError as error:
        return refuse(str(error).splitlines()[0])
    return DONE


if __name__ == "__main__":
    forward("plan")
