"""What fits where: `python -m tightfit.plan device=phone_4gb model=llama2_7b,gpt2_medium optimizer=bp_adam,mezo`.

Bytes, step cost, and the largest batch, sequence and model that fit, all derived from plain numbers in conf/plan/:
nothing is trained or downloaded. Several values with commas make every combination. Further keys:
dataset.sequence_length, training.batch_size, format=table|json|csv, picture=FILE.png, and overrides such as
assumptions.rho=1, optimizer.rank=16, device.flops_per_second=1e12. A device may be a plain size: device=17GB. A model
may be a config.json of Hugging Face's form or a folder with one: model=path/to/Llama-3.2-1B.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tightfit.plan.question import answers, assumptions_of, parse
from tightfit.plan.show import draw, print_csv, print_json, print_table
from tightfit.settings import asks_for_help

USAGE_ERROR = 2  # exit code


def main(words: Sequence[str]) -> int:
    """Print the plan that `words` ask for; the exit code."""
    if asks_for_help(words):
        print(__doc__)
        return 0
    try:
        question = parse(words)
        rows, assumptions = list(answers(question)), assumptions_of(question)
        {"table": print_table, "json": print_json, "csv": print_csv}[question.format](rows, assumptions)
        if question.picture:
            draw(rows, question.picture)
    except ValueError as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
