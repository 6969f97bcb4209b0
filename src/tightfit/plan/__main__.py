"""What fits where: `python -m tightfit.plan device=phone_4gb model=llama2_7b,gpt2_medium optimizer=bp_adam,mezo`.

Bytes, step cost, and the largest batch, sequence and model that fit: the method itself is asked, of a table of the
model's operations. Nothing is trained or downloaded. Several values with commas make every combination.
Methods are those of a run: optimizer=bp optimizer/rule=adam optimizer/activations=checkpointed, optimizer.queries=4.
A device is a memory budget of a run, with its rates for seconds (device.flops_per_second=1e12), or a plain size:
device=17GB. A model is any that runs, one of conf/plan/model, or a config.json of Hugging Face's form or a folder with
one: model=path/to/Llama-3.2-1B. Further keys: dataset.sequence_length, training.batch_size, format=table|json|csv,
picture=FILE.png, and overrides such as model.layers=16, assumptions.rho=1. What cannot be is told in a sentence.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tightfit.settings import asks_for_help

USAGE_ERROR = 2  # exit code


def main(words: Sequence[str]) -> int:
    """Print the plan that `words` ask for; the exit code."""
    if asks_for_help(words):
        print(__doc__)
        return 0
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
        print(str(error).splitlines()[0], file=sys.stderr)
        return USAGE_ERROR
    for combination, complaint in complaints.items():
        print(f"left out: {combination}: {complaint.splitlines()[0]}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
