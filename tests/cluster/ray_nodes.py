"""Ray on this machine alone: a head that makes no run and two nodes of a core each, started for a test and ended after
it, without touching other nodes of Ray.

On a loaded machine a node of Ray may give up before its parts have found each other, so a start is tried again.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from .ports import free_ports
from .waiting import until

TRIES = 4
UP = "Ray runtime started"
EVERY_NODE = ["--block", "--disable-usage-stats", "--object-store-memory=80000000"]
HEAD = ["--head", "--num-cpus=0", "--include-dashboard=false"]  # a sweep that is started from it outlives each node


class NotStarted(Exception):
    """Ray gave up starting a node."""


def obstacle() -> str:
    """Why Ray cannot be started here; empty where it can."""
    if os.environ.get("TIGHTFIT_CLUSTER") != "1":
        return "starts services, for minutes: set TIGHTFIT_CLUSTER=1"
    return "" if importlib.util.find_spec("ray") else "ray missing: pip install 'tightfit[ray]'"


@contextmanager
def ray_nodes(env: dict[str, str]) -> Generator[str]:
    """Yields the address. Raises NotStarted with what Ray said where a node does not come up in `TRIES` tries."""
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    # Not pytest's folder, whose name is too long for a socket in Ray's folders.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder, ExitStack() as nodes:
        place = Path(folder)
        start = [*HEAD, "--node-ip-address=127.0.0.1", f"--port={port}", f"--temp-dir={folder}/t"]
        nodes.enter_context(node(env, place, *start))
        for _ in range(2):
            nodes.enter_context(worker_node(env, place, address))
        yield address


def worker_node(env: dict[str, str], folder: Path, address: str) -> AbstractContextManager[None]:
    """One of a core that joins those at `address`. Raises NotStarted as they do."""
    return node(env, folder, f"--address={address}", "--num-cpus=1")


@contextmanager
def node(env: dict[str, str], folder: Path, *words: str) -> Generator[None]:
    for each in range(TRIES):
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".log", delete=False) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *EVERY_NODE, *words],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        said = Path(log.name)
        try:
            until(lambda p=process, said=said: p.poll() is not None or UP in said.read_text(), state=said.read_text)
            if process.poll() is None:
                yield
                return
            if each == TRIES - 1:
                raise NotStarted(f"Ray did not start in {TRIES} tries: {said.read_text()[-400:]}")
        finally:
            end(process)


def lose_node_of(worker: int) -> None:
    """Kill the node that the process `worker` is of at once, as when its machine loses power."""
    os.killpg(os.getpgid(worker), signal.SIGKILL)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a node with all its processes, which are of one group."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=60)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
