"""Fetch data sets into the cache and say what they are: `python -m tightfit.datasets mnist fashion_mnist`.

These two are what the command knows; the other data sets are fetched by the first run that uses them.
"""

from __future__ import annotations

import sys

from tightfit.datasets.dataset import DataUnavailable
from tightfit.datasets.rotated import UPRIGHT
from tightfit.datasets.routes import cache_folder
from tightfit.settings import asks_for_help

CHOICES = f"choose from {', '.join(UPRIGHT)}; others are fetched by the run that uses them"


def main(names: list[str]) -> int:
    if asks_for_help(names):
        print(__doc__)
        return 0
    unknown = [name for name in names if name not in UPRIGHT]
    if unknown or not names:
        print(
            f"unknown data sets {unknown}; {CHOICES}" if names else f"no data set is named; {CHOICES}", file=sys.stderr
        )
        return 2
    return max([fetch(name) for name in names])


def fetch(name: str) -> int:
    """Fetch one data set and say what it is; the exit code, 1 where it cannot be had or not be kept."""
    try:
        dataset = UPRIGHT[name]()
    except DataUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{name}: {len(dataset.train):,} to train on, {len(dataset.test):,} to test on; by {dataset.route}")
    for file, sha256 in dataset.checksums.items():
        print(f"  {file} sha256 {sha256}")
    place = cache_folder(None) / name
    if not all((place / file).is_file() for file in dataset.checksums):
        print(
            f"{name} is not kept, as {place} cannot be written; set TIGHTFIT_CACHE to another folder", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
