"""One contract for every option of conf/dataset, on made files in place of those that are fetched."""

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from tightfit.datasets import fashion_mnist, idx, mnist, modelnet40, sentiment, superglue, vader
from tightfit.datasets.dataset import Appended, Dataset, Examples
from tightfit.datasets.images import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS
from tightfit.datasets.routes import Files
from tightfit.run.parts import build_dataset

from .test_text import Letters

CONF = Path(__file__).parents[2] / "conf" / "dataset"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))
TRAIN, TEST = 200, 120  # examples that are made
SIZES = {"train_size": 40, "test_size": 30}
HELD_OUT = 20


@cache
def images() -> Files:
    """Images of ten classes, no two alike and each with ink."""
    drawn = np.random.default_rng(0).integers(0, 256, (TRAIN + TEST, 28, 28), dtype=np.uint8)
    labels = (np.arange(TRAIN + TEST) % 10).astype(np.uint8)
    parts = {"train": slice(0, TRAIN), "t10k": slice(TRAIN, None)}
    return {
        name: idx.encode((drawn if "images" in name else labels)[parts[name.split("-")[0]]]) for name in mnist.NAMES
    }


def lines(count: int, make: Callable[[int], str]) -> bytes:
    return "".join(make(number) + "\n" for number in range(count)).encode()


def tsv(file: str) -> bytes:
    return b"sentence\tlabel\n" + lines(TRAIN, lambda number: f"{file} sentence {number}\t{number % 2}")


def task_rows(source: superglue.Source, file: str) -> bytes:
    def row(number: int) -> str:
        label = source.labels[number % len(source.labels)]
        text = f"{file} {number}"
        fields = {"premise": text, "hypothesis": "a", "text": text, "passage": text, "question": "is it?"}
        return json.dumps({**fields, "target": {"span1_text": "a", "span2_text": "b"}, "label": label})

    return lines(TRAIN, row)


def clouds(count: int, seed: int) -> modelnet40.Clouds:
    points = np.random.default_rng(seed).random((count, 1024, 3), dtype=np.float32)
    return modelnet40.Clouds(points, np.arange(count) % modelnet40.CLASSES)


def made(dataset: str, checksums: Mapping[str, str], *_: object) -> tuple[Files, str]:
    """In place of `obtain`: files of the same names and form."""
    if dataset in superglue.SOURCES:
        return {file: task_rows(superglue.SOURCES[dataset], file) for file in checksums}, "made"
    if dataset == "vader":
        return {vader.FILE: lines(2 * TRAIN, lambda n: f"{n}\t{(-1) ** n}\tsentence {n}")}, "made"
    if dataset == "sst2":
        return {file: tsv(file) for file in checksums}, "made"
    if dataset == "mr":
        return {file: lines(TRAIN, f"{file} {{}}".format) for file in checksums}, "made"
    return images(), "made"


@pytest.fixture(autouse=True)
def _made_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (mnist, fashion_mnist, superglue, vader, sentiment):
        monkeypatch.setattr(module, "obtain", made)
    monkeypatch.setattr(superglue, "RESPLIT_TEST", 60)
    splits = {"train": clouds(60, 0), "test": clouds(50, 1)}
    monkeypatch.setattr(modelnet40, "from_cache_or_address", lambda *_: ("h5", splits, "made"))


def saved_arrays(folder: Path) -> dict[str, Any]:
    """The images as a user would save them, by the setting that names the file."""
    pixels, labels = (idx.decode(images()[name]) for name in (TRAIN_IMAGES, TRAIN_LABELS))
    parts = {"x_train": pixels[:TRAIN], "y_train": labels[:TRAIN]}
    pixels, labels = (idx.decode(images()[name]) for name in (TEST_IMAGES, TEST_LABELS))
    np.savez(folder / "mine.npz", **parts, x_test=pixels, y_test=labels)
    return {"path": str(folder / "mine.npz")}


def saved_images(folder: Path) -> dict[str, Any]:
    for split, names in {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}.items():
        pixels, labels = (idx.decode(images()[name]) for name in names)
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            path = folder / "mine" / split / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return {"folder": str(folder / "mine")}


def saved_by_datasets(folder: Path) -> dict[str, Any]:
    library = pytest.importorskip("datasets")
    features = library.Features({"text": library.Value("string"), "label": library.ClassLabel(names=["neg", "pos"])})
    rows = {"text": [f"text {n}" for n in range(2 * TRAIN)], "label": [n % 2 for n in range(2 * TRAIN)]}
    library.Dataset.from_dict(rows, features=features).save_to_disk(folder / "saved")
    return {"folder": str(folder / "saved"), "verbalizers": {"neg": "bad", "pos": "good"}}


def built(option: str, folder: Path, **changes: Any) -> Dataset:
    settings: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{option}.yaml"))
    settings["title"] = option
    if option == "text_file":
        path = folder / "mine.jsonl"
        path.write_bytes(lines(2 * TRAIN, lambda n: json.dumps({"text": f"text {n}", "label": bool(n % 2)})))
        settings |= {"path": str(path), "verbalizers": {False: "No", True: "Yes"}}
    if option == "hf_folder":
        settings |= saved_by_datasets(folder)
    if option == "multiple_choice":
        path = folder / "mine.jsonl"
        row = {"first": "so it rains", "second": "it snows", "text": ""}
        path.write_bytes(lines(2 * TRAIN, lambda n: json.dumps({**row, "text": f"text {n}", "label": n % 2})))
        settings |= {"path": str(path), "choices": ["first", "second"]}
    if option in ("arrays", "image_folder"):
        settings |= {"arrays": saved_arrays, "image_folder": saved_images}[option](folder)
    is_text = "template" in settings
    if is_text or "angle" in settings:
        settings |= SIZES
    if is_text:
        settings["validation_size"] = HELD_OUT
    model = {"name": "m", **({"tokenizer": None} if is_text else {})}
    tokenizer = Words() if is_text else None
    return build_dataset({"dataset": {**settings, **changes}, "model": model}, tokenizer)


class Words(Letters):
    """As `Letters`, with a token of its own for each answer."""

    def answer(self, word: str) -> list[int] | None:
        return [sum(map(ord, word))]


def contents(examples: Examples) -> list[bytes]:
    return [example.numpy().tobytes().rstrip(b"\0") for example in examples.inputs]


def same(one: Examples, other: Examples) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.labels, other.labels)


def on_validation(option: str, folder: Path) -> Dataset:
    is_text = "template" in (CONF / f"{option}.yaml").read_text()
    return built(option, folder, **({"scored": "validation"} if is_text else {"held_out": HELD_OUT}))


@pytest.mark.parametrize("option", OPTIONS)
def test_examples_are_of_one_form_and_every_class_is_known(option: str, tmp_path: Path) -> None:
    dataset = built(option, tmp_path)
    assert (dataset.name, dataset.scored, dataset.route.startswith(("made", "file"))) == (option, "test", True)
    for examples in (dataset.train, dataset.test):
        assert len(examples.inputs) == len(examples.labels) > 0
        assert examples.inputs.dtype == dataset.train.inputs.dtype
        assert examples.inputs.dim() == dataset.train.inputs.dim()
        assert examples.labels.dtype == torch.int64
        assert 0 <= examples.labels.min() <= examples.labels.max() < dataset.classes
    if isinstance(dataset.answers, Appended):
        assert dataset.example_shape[0] == dataset.classes
    else:
        assert len(dataset.answers) == (dataset.classes if "template" in dataset.details else 0)
        assert len(set(dataset.answers)) == len(dataset.answers)
    assert sum(dataset.balance["scored_counts"]) == len(dataset.test)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_same_settings_give_the_same_examples(option: str, tmp_path: Path) -> None:
    first, again = (built(option, tmp_path) for _ in range(2))
    assert same(first.train, again.train)
    assert same(first.test, again.test)
    assert (first.checksums, first.details) == (again.checksums, again.details)


@pytest.mark.parametrize("option", OPTIONS)
def test_what_is_scored_is_not_trained_on_and_validation_leaves_the_test_set_alone(option: str, tmp_path: Path) -> None:
    test, validation = built(option, tmp_path), on_validation(option, tmp_path)
    assert validation.scored == "validation"
    assert len(validation.test) == HELD_OUT
    parts = [set(contents(part)) for part in (validation.train, validation.test, test.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert not set(contents(test.train)) & parts[2]


@pytest.mark.parametrize("option", OPTIONS)
def test_limits_keep_the_first_so_many(option: str, tmp_path: Path) -> None:
    whole, cut = built(option, tmp_path), built(option, tmp_path, train_limit=5, test_limit=3)
    assert contents(cut.train) == contents(whole.train[:5])
    assert len(cut.test) == 3
    assert set(contents(cut.test)) <= set(contents(whole.test))


@pytest.mark.parametrize("option", OPTIONS)
def test_impossible_numbers_are_refused(option: str, tmp_path: Path) -> None:
    names = set(OmegaConf.load(CONF / f"{option}.yaml"))
    numbers = "train_limit test_limit held_out train_size test_size validation_size sequence_length points"
    for name in names.intersection(numbers.split()):
        with pytest.raises(ValueError, match=rf"dataset.{name}=-1 leaves nothing; choose [01] or more"):
            built(option, tmp_path, **{name: -1})
        with pytest.raises(ValueError, match=rf"dataset.{name}=1.5 is not a whole number; choose [01] or more"):
            built(option, tmp_path, **{name: 1.5})


@pytest.mark.parametrize("option", OPTIONS)
def test_what_goes_on_record_is_plain_and_names_the_data_by_sha256(option: str, tmp_path: Path) -> None:
    dataset = built(option, tmp_path)
    on_record = {"checksums": dataset.checksums, **dataset.details, **dataset.balance}
    assert json.loads(json.dumps(on_record)) == on_record
    assert dataset.checksums
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in dataset.checksums.values())


def test_the_images_that_are_made_are_read_as_they_are() -> None:
    files = images()
    assert idx.decode(files[TRAIN_IMAGES]).shape == (TRAIN, 28, 28)
    assert len(idx.decode(files[TRAIN_LABELS])) == TRAIN
