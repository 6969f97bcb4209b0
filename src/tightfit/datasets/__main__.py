"""Fetch data sets into the cache and say what they are: `python -m tightfit.datasets mnist fashion_mnist`."""

from __future__ import annotations

import sys

from tightfit.datasets.dataset import DataUnavailable
from tightfit.datasets.rotated import UPRIGHT
from tightfit.settings import asks_for_help


def main(names: list[str]) -> int:
    if asks_for_help(names):
        print(__doc__)
        return 0
    unknown = [name for name in names if name not in UPRIGHT]
    if unknown or not names:
        print(f"unknown data sets {unknown}; choose from {', '.join(UPRIGHT)}", file=sys.stderr)
        return 2
    for name in names:
        try:
            dataset = UPRIGHT[name]()
        except DataUnavailable as error:
            print(error, file=sys.stderr)
            return 1
        print(f"{name}: {len(dataset.train):,} to train on, {len(dataset.test):,} to test on; by {dataset.route}")
        for file, sha256 in dataset.checksums.items():
            print(f"  {file} sha256 {sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
