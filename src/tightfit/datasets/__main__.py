"""Fetch data sets into the cache and say what they are: `tightfit data mnist fashion_mnist`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tightfit.commands import carry_out, forward
from tightfit.commands.verbs import DATA
from tightfit.commands.words import Said, WrongWords, nearest
from tightfit.datasets.dataset import DataUnavailable
from tightfit.datasets.rotated import UPRIGHT
from tightfit.datasets.routes import cache_folder


def main(words: Sequence[str]) -> int:
    return carry_out(DATA, words, fetch_all)


def fetch_all(said: Said) -> int:
    """Fetch the data sets that were said, each whatever becomes of the others; the exit code."""
    for name in said.named:
        if name not in UPRIGHT:
            raise WrongWords(
                f"{name} is no data set that is fetched by itself; {nearest(name, UPRIGHT)}choose from "
                f"{', '.join(UPRIGHT)}; others are fetched by the run that uses them"
            )
    return max([fetch(name) for name in said.named])


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
    forward("data")
