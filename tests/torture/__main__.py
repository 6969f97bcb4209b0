"""`python -m tests.torture --minutes 10 --seed 0`: faults until the time is over, a line each, and a table of them."""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.torture.faults import KINDS, Fault, drawn
from tests.torture.recorded import OUTCOMES, origin
from tests.torture.trial import Trial
from tests.torture.twins import Twins


def main() -> int:
    said, began = words(), time.monotonic()
    counts: Counter[tuple[str, str]] = Counter()
    said.record.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="torture") as place, said.record.open("w") as record:
        (Path(place) / "twins").mkdir()
        twins = Twins(Path(place) / "twins")
        gc.freeze()  # so that forks need not copy what is only looked through
        print(json.dumps(origin()), file=record, flush=True)
        print(f"ready after {time.monotonic() - began:.0f} s", flush=True)
        for fault in faults(said):
            started = time.monotonic()
            trial = Trial(fault, Path(place) / str(fault.index), twins)
            trial.place.mkdir()
            outcome, reason = trial.outcome()
            seconds = round(time.monotonic() - started, 2)
            line = {**fault.as_dict(), "struck": trial.times_struck, "outcome": outcome, "reason": reason}
            line["wall_seconds"] = seconds
            print(json.dumps(line), file=record, flush=True)
            counts[fault.kind, outcome] += 1
            told = f": {reason.replace(place, '')}" if outcome == "wrong" else ""
            print(f"SEED={fault.seed} INDEX={fault.index}  {outcome}  {fault}{told}", flush=True)
    show(counts)
    return int(any(outcome == "wrong" for _, outcome in counts))


def words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="A fault campaign.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--index", type=int, help="of the one fault to repeat")
    parser.add_argument("--kind", choices=[*dict.fromkeys(KINDS)], default="", help="the only one; by default all")
    parser.add_argument("--record", type=Path, default=Path("build/torture.jsonl"))
    return parser.parse_args()


def faults(said: argparse.Namespace) -> Iterator[Fault]:
    if said.index is not None:
        yield drawn(said.seed, said.index)
        return
    end = time.monotonic() + 60 * said.minutes
    for index in count():
        if time.monotonic() > end:
            return
        if (fault := drawn(said.seed, index)).kind in (said.kind or KINDS):
            yield fault


def show(counts: Counter[tuple[str, str]]) -> None:
    table = Table("fault", *OUTCOMES)
    for kind in dict.fromkeys(kind for kind, _ in counts):
        table.add_row(kind, *(str(counts[kind, outcome]) for outcome in OUTCOMES))
    table.add_row("all", *(str(sum(n for (_, o), n in counts.items() if o == outcome)) for outcome in OUTCOMES))
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
