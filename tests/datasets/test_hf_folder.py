"""Folders of the datasets library: their splits, the names of their labels, and what is none of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit.datasets.dataset import Dataset, DataUnavailable
from tightfit.datasets.hf_folder import hf_folder
from tightfit.datasets.text_file import text_file

from .test_text import Letters

library = pytest.importorskip("datasets")
COUNTS = {"train": 40, "dev": 8, "test": 12, "unsupervised": 5}
NAMES = ["neg", "pos"]


def rows(split: str) -> dict[str, list[Any]]:
    count = COUNTS[split]
    return {"text": [f"{split} {n}" for n in range(count)], "label": [n % 2 for n in range(count)]}


def saved(folder: Path, **columns: Any) -> Path:
    features = library.Features({"text": library.Value("string"), "label": library.ClassLabel(names=NAMES)})
    parts = {split: library.Dataset.from_dict({**rows(split), **columns}, features=features) for split in COUNTS}
    library.DatasetDict(parts).save_to_disk(folder / "saved")
    return folder / "saved"


def read(folder: Path, **settings: Any) -> Dataset:
    defaults = {"text": "text", "label": "label", "verbalizers": {"neg": "bad", "pos": "good"}, "train_size": None}
    return hf_folder("own", Letters(), str(folder), **{"template": "{text} {label}", **defaults, **settings})


@pytest.mark.parametrize("scored", ["validation", "test"])
def test_a_folder_is_read_as_files_of_the_same_rows(scored: str, tmp_path: Path) -> None:
    found = read(saved(tmp_path), scored=scored)
    files = {}
    for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
        path = tmp_path / f"{split}.csv"
        pairs = zip(rows(name)["text"], rows(name)["label"], strict=True)
        path.write_text("text,label\n" + "".join(f"{text},{NAMES[label]}\n" for text, label in pairs))
        files[split] = str(path)
    settings = {"text": "text", "label": "label", "verbalizers": {"neg": "bad", "pos": "good"}, "train_size": None}
    expected = text_file("own", Letters(), **files, template="{text} {label}", scored=scored, **settings)
    for one, other in ((found.train, expected.train), (found.test, expected.test)):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
    assert found.details["splits_left_out"] == ["unsupervised"]
    assert set(found.checksums) == {f"{split}/data-00000-of-00001.arrow" for split in COUNTS}


def test_what_has_no_label_is_refused_or_dropped(tmp_path: Path) -> None:
    features = library.Features({"text": library.Value("string"), "label": library.ClassLabel(names=NAMES)})
    unlabelled = {"text": [f"text {n}" for n in range(60)], "label": [-1] * 20 + [0, 1] * 20}
    library.Dataset.from_dict(unlabelled, features=features).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match="row 1: label is empty, as in 20 of 60 rows; fill it, or leave such rows out"):
        read(tmp_path / "saved", validation_size=2)
    assert read(tmp_path / "saved", validation_size=2, missing="drop").details["rows_dropped"] == 20


def test_what_datasets_did_not_save_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "gone"):
        with pytest.raises(DataUnavailable, match=rf"{name} is no folder that datasets saved .*write one by save_to_d"):
            read(tmp_path / name)
