"""Images in folders and arrays of a user's own: what is read, and the one line that says what to mend."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tightfit.datasets.arrays import arrays
from tightfit.datasets.batches import Normalization
from tightfit.datasets.dataset import Dataset
from tightfit.datasets.image_folder import image_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (120, 8, 8), dtype=np.uint8)
CLASSES = ("cat", "dog", "eel")


def save(folder: Path, **named: Any) -> str:
    np.savez(folder / "mine.npz", **named)
    return str(folder / "mine.npz")


def draw(folder: Path, pixels: np.ndarray = PIXELS, suffix: str = "png") -> Path:
    for number, image in enumerate(pixels):
        path = folder / CLASSES[number % 3] / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def pairs(dataset: Dataset) -> list[list[tuple[bytes, str]]]:
    """Inputs and labels by their names, of those trained on and those scored, in order."""
    names = dataset.details["labels"]
    return [
        [(each.numpy().tobytes(), names[label]) for each, label in zip(part.inputs, part.labels.tolist(), strict=True)]
        for part in (dataset.train, dataset.test)
    ]


LABELS: dict[str, tuple[Any, list[str]]] = {
    "whole numbers": (np.arange(120) % 3 + 9, ["9", "10", "11"]),
    "floats": ((np.arange(120) % 3).astype(np.float64), ["0", "1", "2"]),
    "booleans": (np.arange(120) % 2 == 1, ["false", "true"]),
    "texts": (np.array([CLASSES[number % 3] for number in range(120)]), list(CLASSES)),
    "a column": ((np.arange(120) % 3)[:, None], ["0", "1", "2"]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind_are_classes_in_order(kind: str, tmp_path: Path) -> None:
    labels, names = LABELS[kind]
    dataset = arrays("own", save(tmp_path, x=PIXELS, y=labels))
    assert dataset.details["labels"] == names
    known = {image.tobytes(): label for image, label in zip(PIXELS, labels.reshape(-1).tolist(), strict=True)}
    for image, label in [*pairs(dataset)[0], *pairs(dataset)[1]]:
        assert known[image] in (label, label == "true", *((float(label),) if label.isdecimal() else ()))


def test_a_folder_and_an_array_of_the_same_images_are_the_same_data(tmp_path: Path) -> None:
    labels = [CLASSES[number % 3] for number in range(120)]
    of_files = image_folder("own", str(draw(tmp_path / "pets")), size=8)
    of_array = arrays("own", save(tmp_path, x=PIXELS, y=labels))
    assert pairs(of_files) == pairs(of_array)
    assert (of_files.mean, of_files.std, of_files.balance) == (of_array.mean, of_array.std, of_array.balance)


def test_equal_images_never_stand_on_both_sides(tmp_path: Path) -> None:
    twice = np.concatenate([PIXELS, PIXELS])
    trained, scored = pairs(arrays("own", save(tmp_path, x=twice, y=np.arange(240) % 3)))
    assert not {image for image, _ in trained} & {image for image, _ in scored}
    assert len(trained) + len(scored) == 2 * sum(
        map(len, pairs(arrays("own", save(tmp_path, x=PIXELS, y=np.arange(120) % 3))))
    )


@pytest.mark.parametrize("named", [("train", "val", "test"), ("training", "dev", "testing")])
@pytest.mark.parametrize("kind", ["arrays", "folders"])
def test_published_splits_are_those_that_are_trained_on_and_scored(
    kind: str, named: tuple[str, str, str], tmp_path: Path
) -> None:
    thirds = {name: PIXELS[40 * number : 40 * number + 40] for number, name in enumerate(named)}
    if kind == "arrays":
        labels = {f"y_{name}": np.arange(40) % 3 for name in named}
        path = save(tmp_path, **{f"x_{name}": part for name, part in thirds.items()}, **labels)
        on_test, on_validation = (arrays("own", path, scored=scored) for scored in ("test", "validation"))
    else:
        for name, part in thirds.items():
            draw(tmp_path / "pets" / name, part)
        folder = str(tmp_path / "pets")
        on_test, on_validation = (image_folder("own", folder, size=8, scored=s) for s in ("test", "validation"))
    found = [pairs(on_test)[0], pairs(on_validation)[1], pairs(on_test)[1]]
    for part, expected in zip(found, thirds.values(), strict=True):
        assert sorted(image for image, _ in part) == sorted(image.tobytes() for image in expected)
    assert (on_test.scored, on_validation.scored) == ("test", "validation")


def test_a_model_sees_numbers_of_mean_0_and_deviation_1(tmp_path: Path) -> None:
    floats = np.random.default_rng(1).normal(7, 3, (120, 5))
    for inputs in (floats, floats.astype(np.float16), PIXELS):
        dataset = arrays("own", save(tmp_path, x=inputs, y=np.arange(120) % 3))
        seen = Normalization(dataset.mean, dataset.std)(dataset.train.inputs)
        assert torch.allclose(seen.mean(), torch.tensor(0.0), atol=1e-5)  # of some thousand float32 numbers
        assert torch.allclose(seen.std(correction=0), torch.tensor(1.0), atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_what_a_model_sees_leaves_the_data_as_they_are(kind: type, tmp_path: Path) -> None:
    dataset = arrays("own", save(tmp_path, x=PIXELS.astype(kind), y=np.arange(120) % 3))
    before = dataset.test.inputs.clone()
    Normalization(dataset.mean, dataset.std)(dataset.test.inputs[:5])
    assert torch.equal(dataset.test.inputs, before)


def test_the_first_so_many_are_of_all_classes_however_a_file_is_sorted(tmp_path: Path) -> None:
    by_class = np.sort(np.arange(120) % 3)
    parts = {"x_train": PIXELS, "y_train": by_class, "x_test": PIXELS, "y_test": by_class}
    dataset = arrays("own", save(tmp_path, **parts), train_limit=15, test_limit=15)
    assert min(dataset.balance["train_counts"] + dataset.balance["scored_counts"]) > 0
    held_out = arrays("own", save(tmp_path, **parts), held_out=15)
    assert (held_out.scored, len(held_out.train), min(held_out.balance["scored_counts"]) > 0) == (
        "validation",
        105,
        True,
    )


def test_channels_may_come_last(tmp_path: Path) -> None:
    colour = np.random.default_rng(2).integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    labels = np.arange(60) % 2
    last = arrays("own", save(tmp_path, x=colour, y=labels), channels_last=True)
    assert last.example_shape == (3, 4, 5)
    # The hash is of the images as they are held, so both come in one order.
    assert pairs(last) == pairs(arrays("own", save(tmp_path, x=colour.transpose(0, 3, 1, 2), y=labels)))


def test_images_are_scaled_turned_upright_and_of_the_channels_asked_for(tmp_path: Path) -> None:
    for number in range(60):
        image = Image.new("RGB", (20, 10), (255, 0, 0))
        image.paste((0, 0, 255), (0, 0, 10, 10))  # blue on the left
        image.paste((0, 4 * number, 0), (15, 0, 20, 10))  # no two alike
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned: shown, blue is at the top
        path = tmp_path / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        image.save(path, exif=exif)
    dataset = image_folder("own", str(tmp_path), size=16, channels=3)
    image = dataset.train.inputs[0]
    assert image.shape == (3, 16, 16)
    assert (image[2, 0, 8], image[0, 10, 8]) == (255, 255)
    assert image_folder("own", str(tmp_path), size=16).example_shape == (1, 16, 16)


@pytest.mark.parametrize("suffix", ["jpg", "bmp", "gif", "webp", "tif", "PNG"])
def test_other_kinds_of_files_are_read(suffix: str, tmp_path: Path) -> None:
    dataset = image_folder("own", str(draw(tmp_path, suffix=suffix)), size=8)
    assert sum(dataset.balance["train_counts"]) > 60


def test_damaged_images_are_refused_or_dropped_and_counted(tmp_path: Path) -> None:
    draw(tmp_path)
    whole = image_folder("own", str(tmp_path), size=8)
    (tmp_path / "cat" / "broken.png").write_bytes((tmp_path / "cat" / "0.png").read_bytes()[:40])
    (tmp_path / "dog" / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"broken.png is no image that can be read \(.*\), as 2 of the images; mend"):
        image_folder("own", str(tmp_path), size=8)
    dropped = image_folder("own", str(tmp_path), size=8, missing="drop")
    assert pairs(dropped) == pairs(whole)
    assert dropped.details["images_dropped"] == 2


def test_numbers_that_are_missing_are_refused_or_dropped_and_counted(tmp_path: Path) -> None:
    floats = np.random.default_rng(1).normal(size=(120, 5))
    holes = floats.copy()
    holes[::40, 2] = [np.nan, np.inf, -np.inf]
    labels = np.arange(120) % 3
    path = save(tmp_path, x=holes, y=labels)
    with pytest.raises(ValueError, match="3 of 120 examples of whole have numbers that are not finite; mend them"):
        arrays("own", path)
    dropped = arrays("own", path, missing="drop")
    kept = np.arange(120) % 40 != 0
    assert dropped.details["examples_dropped"] == 3
    assert pairs(dropped) == pairs(arrays("own", save(tmp_path, x=floats[kept], y=labels[kept])))


GOOD: dict[str, Any] = {"x": PIXELS, "y": np.arange(120) % 3}
SPLIT = {"x_train": PIXELS, "y_train": GOOD["y"], "x_test": PIXELS, "y_test": GOOD["y"]}
REFUSED_ARRAYS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "objects": ({**GOOD, "y": np.array([{}] * 120)}, {}, "mine.npz holds objects, which are not read; write numbers"),
    "other names": ({"a": PIXELS}, {}, "mine.npz holds a; save x_train, y_train, x_test and y_test, or x and y alone"),
    "no labels": ({"x": PIXELS}, {}, "mine.npz has x but no y; save the labels beside the inputs"),
    "no labels of test": ({**SPLIT, "x_val": PIXELS}, {}, "mine.npz has x_val but no y_val; save the labels"),
    "twice": ({**SPLIT, "x_testing": PIXELS, "y_testing": GOOD["y"]}, {}, "has both x_test and x_testing; keep one"),
    "whole and split": ({**SPLIT, **GOOD}, {}, "save x_train, y_train"),
    "lengths": ({**GOOD, "y": np.arange(119) % 3}, {}, "x is (120, 8, 8) but its labels are (119,); give each input"),
    "one-hot": ({**GOOD, "y": np.eye(3)[GOOD["y"]]}, {}, "its labels are (120, 3); give each input one label"),
    "regression": ({**GOOD, "y": np.linspace(0, 1, 120)}, {}, "labels of x are float64; write whole numbers"),
    "whole inputs": ({**GOOD, "x": PIXELS.astype(np.int64)}, {}, "x is int64 (120, 8, 8); save pixels as uint8"),
    "flat inputs": ({**GOOD, "x": np.arange(120.0)}, {}, "x is float64 (120,); save pixels as uint8, or numbers"),
    "one class": ({**GOOD, "y": np.zeros(120, int)}, {}, "own is all of the class '0' to train on; add examples"),
    "new class": (
        {**SPLIT, "y_test": GOOD["y"] + 1},
        {},
        "label '3' stands in test 40 times but never in train, which",
    ),
    "other shapes": (
        {**SPLIT, "x_test": PIXELS[:, 1:]},
        {},
        "examples of train are uint8 (1, 8, 8), of test uint8 (1, 7",
    ),
    "other types": ({**SPLIT, "x_test": PIXELS / 2}, {}, "of train are uint8 (1, 8, 8), of test float32 (8, 8); give"),
    "constant": (
        {name: 0 * part + 7.0 if "x" in name else part for name, part in SPLIT.items()},
        {},
        "all numbers to train on are 7.0; check how they",
    ),
    "no test": (
        {name: SPLIT[name] for name in ("x_train", "y_train")},
        {},
        "own has no test examples to score; give it",
    ),
    "no train": ({name: SPLIT[name] for name in ("x_test", "y_test")}, {}, "own has no split train; give it examples"),
    "no validation": (SPLIT, {"scored": "validation"}, "no validation examples to score; give it such a split, or set"),
    "scored": (GOOD, {"scored": "dev"}, "dataset.scored='dev' is not a split; choose test or validation"),
    "both": (GOOD, {"scored": "validation", "held_out": 5}, "dataset.held_out=5 but the split validation is scored"),
    "channels": (GOOD, {"channels_last": True}, "dataset.channels_last=true but x is (120, 8, 8), not (n, h, w, c)"),
    "missing": (GOOD, {"missing": "skip"}, "dataset.missing='skip' is nothing to do with missing numbers; choose"),
}


@pytest.mark.parametrize(("saved", "settings", "message"), REFUSED_ARRAYS.values(), ids=REFUSED_ARRAYS)
def test_arrays_that_cannot_be_meant_are_told(
    saved: dict[str, Any], settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        arrays("own", save(tmp_path, **saved), **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short", b"\x80\x04K\x01."])
def test_a_file_of_another_kind_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"mine.npz (is no .npz file|holds objects, which are not read); write numbers"
    ):
        arrays("own", str(tmp_path / "mine.npz"))


def test_one_array_is_no_archive(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, PIXELS)
    (tmp_path / "mine.npz").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match=r"is no .npz file"):
        arrays("own", str(tmp_path / "mine.npz"))


def test_folders_that_cannot_be_meant_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(message: str, **settings: Any) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            image_folder("own", str(tmp_path / "pets"), **settings)

    refused("pets is no folder; name the one that holds your images")
    (tmp_path / "pets").mkdir()
    refused("pets has no images; put them into a folder for each class")
    (tmp_path / "pets" / "cat").mkdir()
    refused("cat has no images (.png, ")
    draw(tmp_path / "pets" / "train")
    refused("has splits (train) and cat; keep splits or classes in it")
    (tmp_path / "pets" / "cat").rename(tmp_path / "pets" / "training")
    refused("has splits (train) and one split twice")
    refused("dataset.channels=2 is no kind of image; choose 1 for grey or 3 for colour", channels=2)
    refused("dataset.size=0 leaves nothing; choose 1 or more", size=0)
    refused("dataset.missing='skip' is nothing to do with damaged images", missing="skip")
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    (tmp_path / "pets" / "training").rmdir()
    refused("install it with pip install 'tightfit[images]'")
