"""Archives made to do harm: nothing leaves its place, and what grows without end is not unpacked."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tightfit.datasets import archives
from tightfit.datasets.archives import from_tar, from_zip, unpacked
from tightfit.datasets.dataset import DataUnavailable
from tightfit.datasets.routes import Route, from_urls, obtain, read_within, sha256_of

LIMIT = 1000


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def tar_link(name: str, target: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, target
        tar.addfile(member)
    return buffer.getvalue()


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_that_understates(name: str, content: bytes) -> bytes:
    """A .zip whose directory says that the file is of one byte."""
    whole = zip_of(**{name: content})
    size = len(content).to_bytes(4, "little")
    return whole.replace(size, (1).to_bytes(4, "little"))


def test_a_member_is_taken_from_a_tar_and_a_zip_and_a_missing_one_is_told() -> None:
    files = {"a/b.txt": b"text", "c.txt": b"more"}
    assert from_tar(tar_of(**files), "a/b.txt") == b"text"
    assert from_zip(zip_of(**files), ["c.txt", "a/b.txt"]) == [b"more", b"text"]
    for take in (lambda: from_tar(tar_of(**files), "d.txt"), lambda: from_zip(zip_of(**files), ["d.txt"])):
        with pytest.raises(KeyError):
            take()


HUGE = b"0" * (100 * LIMIT)
BOMBS: dict[str, Callable[[], object]] = {
    "gz": lambda: unpacked(gzip.compress(HUGE), "labels.gz"),
    "zip": lambda: from_zip(zip_of(a=HUGE), ["a"]),
    "tar": lambda: from_tar(tar_of(a=HUGE), "a"),
    "tar, before the member": lambda: from_tar(tar_of(a=HUGE, b=b"text"), "b"),
}


@pytest.mark.parametrize("unpack", BOMBS.values(), ids=BOMBS)
def test_what_unpacks_beyond_the_limit_is_refused(
    unpack: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack()  # within the true limit
    monkeypatch.setattr(archives, "MOST_BYTES", LIMIT)
    with pytest.raises(ValueError, match=r"is more than 1,000 bytes, the most that is read of one file"):
        unpack()


def test_a_zip_that_understates_its_size_does_not_pass_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", LIMIT)
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        from_zip(zip_that_understates("a", HUGE), ["a"])


def test_a_download_beyond_the_limit_is_a_route_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels.gz").write_bytes(gzip.compress(HUGE))
    monkeypatch.setattr(archives, "MOST_BYTES", LIMIT)
    route = Route("mirror", lambda: from_urls(f"{tmp_path.as_uri()}/", ["labels"]))
    with pytest.raises(DataUnavailable, match="mirror: ValueError: labels is more than 1,000 bytes"):
        obtain("d", {"labels": sha256_of(HUGE)}, [route], None, str(tmp_path / "cache"))


def test_a_packed_file_of_a_given_folder_beyond_the_limit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.gz").write_bytes(gzip.compress(HUGE))
    monkeypatch.setattr(archives, "MOST_BYTES", LIMIT)
    with pytest.raises(ValueError, match=r"labels\.gz: sha256 is unreadable: labels\.gz is more than 1,000 bytes"):
        obtain("d", {"labels": sha256_of(HUGE)}, [], str(tmp_path), None)


@pytest.mark.parametrize("name", ["../outside", "/tmp/../outside", "a/../../outside"])
def test_hostile_names_write_nothing_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "inside"
    place.mkdir()
    monkeypatch.chdir(place)
    assert from_tar(tar_of(**{name: b"bad", "good": b"text"}), "good") == b"text"
    assert from_zip(zip_of(**{name: b"bad", "good": b"text"}), ["good"]) == [b"text"]
    assert os.listdir(tmp_path) == ["inside"]
    assert not os.listdir(place)


def test_a_link_to_a_file_outside_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with pytest.raises(KeyError):
        from_tar(tar_link("labels", str(secret)), "labels")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "labels").symlink_to(secret)
    with pytest.raises(ValueError, match="labels leads out of the folder that it was unpacked in"):
        read_within(inside, "labels")
    (inside / "text").write_bytes(b"text")
    assert read_within(inside, "text") == b"text"
