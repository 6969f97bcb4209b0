"""Sentiment of sentences from film reviews, rated by twenty people each (Hutto and Gilbert, 2014). MIT.

The sentences are those of Pang and Lee's sentence polarity set, from which SST-2 was made as well; they come in the
source archive of the PyPI package vaderSentiment. The class is the sign of the mean rating; the few sentences with a
mean of zero are left out. There is no official split: 80/10/10 by a hash of the sentence.
"""

from __future__ import annotations

from typing import Any

from tightfit.datasets.archives import from_tar
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.prompts import Labelled, Prompting, Tokenizer
from tightfit.datasets.routes import Files, Route, from_pypi_source, obtain
from tightfit.datasets.text import split_by_hash, text_dataset
from tightfit.records.cosmetic import cosmetic

FILE = "movieReviewSnippets_GroundTruth.txt"
CHECKSUMS = {FILE: "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"}
PACKAGE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def vader(
    name: str,
    tokenizer: Tokenizer,
    title: str = "",
    folder: str | None = None,
    cache: str | None = None,
    **prompting: Any,
) -> Dataset:
    """The sentences as prompts; classes are negative, positive. See `obtain` for folder and cache, `Prompting` for
    the rest; `title` is for tables."""
    files, route = obtain(name, CHECKSUMS, ROUTES, folder, cache)
    splits = split_by_hash(read(files[FILE]), key="text")
    return text_dataset(name, splits, tokenizer, Prompting(**prompting), route, CHECKSUMS)


def read(content: bytes) -> list[Labelled]:
    """Lines of number, mean rating in [−4, 4], sentence."""
    texts = []
    for line in content.decode().splitlines():
        number, rating, text = line.split("\t")
        if float(rating) != 0:
            texts.append(Labelled({"text": text}, int(float(rating) > 0), f"{FILE} {number}"))
    return texts


def from_vader_sentiment() -> Files:
    return {FILE: from_tar(from_pypi_source("vaderSentiment==3.3.2", PACKAGE), f"hutto_ICWSM_2014/{FILE}")}


ROUTES = (Route("PyPI vaderSentiment 3.3.2", from_vader_sentiment),)
