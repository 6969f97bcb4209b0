"""ModelNet40 from made files: the real ones cannot be given away."""

import io
import sys
import urllib.error
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tightfit.datasets import modelnet40 as module
from tightfit.datasets.dataset import DataUnavailable
from tightfit.datasets.modelnet40 import ALL_PARTS, ARCHIVE, NPZ, Clouds, digest, modelnet40
from tightfit.datasets.routes import sha256_of


def made_npz(folder: Path, monkeypatch: pytest.MonkeyPatch, count: int = 12) -> np.ndarray:
    """A small npz sorted by class, which counts as the known one; returns its points."""
    points = np.random.default_rng(0).integers(-4095, 4096, (count, 6, 3)).astype(np.int16)
    label, is_test = np.repeat(np.arange(count // 3), 3).astype(np.uint8), np.arange(count) % 3 == 2
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / NPZ, points=points, label=label, is_test=is_test, name=np.array(["a cloud"] * count))
    decoded = points.astype(np.float32) / 4095
    splits = {"train": ~is_test, "test": is_test}
    known = {split: digest(Clouds(decoded[rows], label[rows])) for split, rows in splits.items()}
    monkeypatch.setattr(module, "NPZ_DIGESTS", known)
    return decoded


def h5_part(index: int, labels: tuple[int, ...] = (3, 39)) -> bytes:
    """Two clouds of eight points, all of whose coordinates are `index`."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["data"] = np.full((len(labels), 8, 3), index, np.float32)
        file["label"] = np.array(labels, np.uint8).reshape(-1, 1)
    return buffer.getvalue()


def made_h5(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, part in enumerate(ALL_PARTS):
        (folder / part).write_bytes(h5_part(index))


def made_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, part in enumerate(ALL_PARTS):
            archive.writestr(f"modelnet40_ply_hdf5_2048/{part}", h5_part(index))
    return buffer.getvalue()


def no_network(*_: object, **__: object) -> None:
    raise urllib.error.URLError("no network")


def test_npz_gives_the_first_points_of_each_cloud_split_and_in_a_fixed_mixed_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = made_npz(tmp_path, monkeypatch)
    dataset, again = (modelnet40(folder=str(tmp_path), points=4) for _ in range(2))
    assert dataset.train.inputs.shape == (8, 4, 3)
    assert dataset.test.labels.sort().values.tolist() == [0, 1, 2, 3]
    assert torch.equal(dataset.train.inputs, again.train.inputs)
    assert not torch.equal(dataset.train.labels, dataset.train.labels.sort().values)
    sent = {cloud[:4].tobytes(): index // 3 for index, cloud in enumerate(decoded)}  # each cloud keeps its label
    labels = [sent[cloud.numpy().tobytes()] for cloud in dataset.train.inputs]
    assert labels == dataset.train.labels.tolist()
    assert dataset.details == {"form": "npz", "points": 4, "up": "z"}
    assert dataset.checksums == module.NPZ_DIGESTS


@pytest.mark.parametrize("inner", ["", "modelnet40_ply_hdf5_2048"])
def test_h5_files_are_read_in_order_from_the_folder_or_where_their_zip_unpacks(tmp_path: Path, inner: str) -> None:
    made_h5(tmp_path / inner)
    dataset = modelnet40(folder=str(tmp_path), points=8)
    assert dataset.train.inputs[:, 0, 0].sort().values.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert dataset.test.inputs[:, 0, 0].sort().values.tolist() == [5, 5, 6, 6]
    assert dataset.test.labels.sort().values.tolist() == [3, 3, 39, 39]
    assert dataset.details["form"] == "h5"


def test_address_is_asked_last_and_its_zip_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = made_zip()
    monkeypatch.setattr(module, "ARCHIVE_SHA256", sha256_of(content))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(content))
    fetched = modelnet40(cache=str(tmp_path), points=8)
    assert fetched.route == module.ADDRESSES[0]
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    assert torch.equal(modelnet40(cache=str(tmp_path), points=8).train.inputs, fetched.train.inputs)
    assert torch.equal(modelnet40(folder=str(tmp_path / "modelnet40"), points=8).train.inputs, fetched.train.inputs)


def test_npz_put_into_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_npz(tmp_path / "modelnet40", monkeypatch)
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    assert modelnet40(cache=str(tmp_path), points=2).route == "cache"


def test_where_nothing_is_to_be_had_the_alternatives_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(DataUnavailable) as error:
        modelnet40(cache=str(tmp_path))
    for told in (*module.ADDRESSES, "no network", "dataset.folder", NPZ, ARCHIVE, "dataset=mnist_points"):
        assert told in str(error.value)


def test_empty_folder_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"neither {NPZ} nor ply_data_train0.h5 nor .*dataset=mnist_points"):
        modelnet40(folder=str(tmp_path))


def test_another_npz_or_a_damaged_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_npz(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "NPZ_DIGESTS", {"train": "0" * 64})
    with pytest.raises(ValueError, match=r"sha256 of its train clouds is not 000.* replace the file"):
        modelnet40(folder=str(tmp_path))
    content = (tmp_path / NPZ).read_bytes()
    (tmp_path / NPZ).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"is damaged .* replace the file"):
        modelnet40(folder=str(tmp_path))


def test_npz_that_would_run_code_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / NPZ, points=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(ValueError, match="is damaged"):
        modelnet40(folder=str(tmp_path))


@pytest.mark.parametrize("spoil", ["cut", "missing", "label", "zip"])
def test_damaged_or_incomplete_h5_form_is_refused(tmp_path: Path, spoil: str) -> None:
    made_h5(tmp_path)
    path, message = tmp_path / ALL_PARTS[3], f"{ALL_PARTS[3]} is damaged"
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif spoil == "missing":
        path.unlink()
        message = f"lacks {ALL_PARTS[3]}"
    elif spoil == "label":
        path.write_bytes(h5_part(0, labels=(3, 40)))
        message = r"labels up to 40; ModelNet40 has .* up to 39"
    else:
        for part in ALL_PARTS:
            (tmp_path / part).unlink()
        (tmp_path / ARCHIVE).write_bytes(b"something else")
        message = "sha256 is not 07670e"
    with pytest.raises(ValueError, match=message):
        modelnet40(folder=str(tmp_path))


def test_without_h5py_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_h5(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"needs h5py, .* pip install tightfit\[h5\]"):
        modelnet40(folder=str(tmp_path))


@pytest.mark.parametrize(
    ("points", "message"),
    [(0, "points=0 leaves nothing"), (7, "points=7 but clouds of the npz form have 6; choose 1–6")],
)
def test_more_points_than_a_cloud_has_are_refused(
    points: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_npz(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=message):
        modelnet40(folder=str(tmp_path), points=points)
