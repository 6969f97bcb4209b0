"""SST-2 (Socher et al., 2013) and MR (Pang and Lee, 2005): sentences from film reviews with official labels.

No registry carries them: they are read from a folder, `dataset.folder`.
"""

from __future__ import annotations

from typing import Any

from tightfit.datasets.dataset import Dataset
from tightfit.datasets.prompts import Labelled, Prompting, Tokenizer
from tightfit.datasets.routes import obtain
from tightfit.datasets.text import Splits, split_by_hash, text_dataset
from tightfit.records.cosmetic import cosmetic

# GLUE's training set in two parts, as the ALPS repository keeps it, and GLUE's development set.
SST2_TRAIN = ("alps_train.tsv", "alps_dev.tsv")
SST2_TEST = "glue_dev.tsv"
SST2_CHECKSUMS = {
    "alps_train.tsv": "920e317b2c52e12cd22db1da2c6708312bd7dc4f3712b9bbf1b50ee6c2c792ba",
    "alps_dev.tsv": "92353770071a2a889f75d000a38a9e541ea8f0a5499e50f040b17917a5cbf66f",
    "glue_dev.tsv": "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0",
}
MR_CHECKSUMS = {
    "rt-polarity.neg": "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
    "rt-polarity.pos": "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
}


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def sst2(
    name: str,
    tokenizer: Tokenizer,
    title: str = "",
    folder: str | None = None,
    cache: str | None = None,
    **prompting: Any,
) -> Dataset:
    """SST-2 as in GLUE: 67,349 phrases to train on, its 872 development sentences to test on."""
    files, route = obtain(name, SST2_CHECKSUMS, (), folder, cache)
    train = [text for part in SST2_TRAIN for text in read_tsv(files[part], part)]
    splits = Splits(train, read_tsv(files[SST2_TEST], SST2_TEST))
    return text_dataset(name, splits, tokenizer, Prompting(**prompting), route, SST2_CHECKSUMS)


def read_tsv(content: bytes, file: str) -> list[Labelled]:
    """Lines of sentence and class after a header."""
    texts = []
    for number, line in enumerate(content.decode().splitlines()[1:], start=2):
        sentence, label = line.rsplit("\t", 1)
        texts.append(Labelled({"text": sentence.strip()}, int(label), f"{file} line {number}"))
    return texts


@cosmetic("title", "folder", "cache")  # checksums on record, not the place, tell what the data was
def mr(
    name: str,
    tokenizer: Tokenizer,
    title: str = "",
    folder: str | None = None,
    cache: str | None = None,
    **prompting: Any,
) -> Dataset:
    """MR: 5,331 negative and 5,331 positive sentences, split 80/10/10 by a hash of the sentence."""
    files, route = obtain(name, MR_CHECKSUMS, (), folder, cache)
    texts = [
        Labelled({"text": line.strip()}, label, f"{file} line {number}")
        for label, file in enumerate(MR_CHECKSUMS)
        for number, line in enumerate(files[file].decode("latin-1").split("\n"), start=1)
        if line.strip()
    ]
    return text_dataset(name, split_by_hash(texts, "text"), tokenizer, Prompting(**prompting), route, MR_CHECKSUMS)
