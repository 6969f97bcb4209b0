"""Sweeps as tasks of Ray on a head and two nodes: the runs of all cores, bit for bit, also where a worker dies."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tightfit.records.record import read_evals

from .ray_nodes import NotStarted, lose_node_of, obstacle, ray_nodes, worker_node
from .sweeps import FOUR, ONE, as_undisturbed, digests, ended, folders, held, is_anybody_in, only_record, steps, sweep
from .waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(obstacle()), reason=obstacle())]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def there() -> Generator[dict[str, str]]:
    code = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(code), "OMP_NUM_THREADS": "1"}
    try:
        with ray_nodes(env) as address:
            yield {**env, "RAY_ADDRESS": address}
    except NotStarted as error:
        pytest.skip(str(error))


def state_of(runs: Path) -> str:
    """What changes as long as a run gets on."""
    return f"evaluations: { {path.name: len(read_evals(path)) for path in folders(runs)} }"


@contextmanager
def held_task(
    there: dict[str, str], runs: Path, marker: Path, *words: str
) -> Generator[tuple[subprocess.Popen[str], int]]:
    """A sweep of one run that is held in its middle, and the number of the run's process."""
    with sweep(there, runs, *ONE, "hydra/launcher=ray", *held(marker), *words) as process:
        try:
            until(lambda: marker.exists() or process.poll() is not None, state=lambda: state_of(runs))
            assert process.poll() is None, process.communicate()[0]
            yield process, int(marker.read_text())
        finally:
            process.kill()


def test_tasks_end_with_the_weights_of_runs_on_this_machine(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    ended(sweep(there, tmp_path, *FOUR, "hydra/launcher=ray"))
    assert digests(tmp_path) == undisturbed


def test_the_run_of_a_worker_that_dies_is_made_again_and_ends_as_if_undisturbed(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with held_task(there, runs, tmp_path / "marker") as (process, worker):
        os.kill(worker, signal.SIGKILL)
        ended(process)
    assert steps(runs) == [(0, 6), (6, 24)]  # those since the last checkpoint were made again
    assert as_undisturbed(runs, undisturbed)


def test_a_worker_that_dies_once_too_often_ends_the_launcher_with_its_reason(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with held_task(there, runs, tmp_path / "marker", "hydra.launcher.max_retries=0") as (process, worker):
        os.kill(worker, signal.SIGKILL)
        said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "#0: The worker died unexpectedly" in said, said
    assert not is_anybody_in(runs)
    ended(sweep(there, runs, *ONE, "hydra/launcher=ray"))
    assert as_undisturbed(runs, undisturbed)


def test_ctrl_c_at_the_launcher_cancels_its_tasks_which_save_where_they_are(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with held_task(there, runs, tmp_path / "marker") as (process, _):
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate()
    assert process.returncode == 130, said
    assert not is_anybody_in(runs)
    assert only_record(runs).status == "interrupted"
    ended(sweep(there, runs, *ONE, "hydra/launcher=ray"))
    assert steps(runs) == [(0, 12), (12, 24)]
    assert as_undisturbed(runs, undisturbed)


def test_a_node_that_is_lost_once_too_often_ends_the_launcher_with_its_reason(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """From here on there is one node less."""
    runs = tmp_path / "runs"
    with held_task(there, runs, tmp_path / "marker", "hydra.launcher.max_retries=0") as (process, worker):
        lose_node_of(worker)
        said, _ = process.communicate()
    assert process.returncode == 1, said
    assert "#0: " in said, said
    assert "node" in said.partition("#0: ")[2].lower(), said
    assert not is_anybody_in(runs)
    ended(sweep(there, runs, *ONE, "hydra/launcher=ray"))
    assert steps(runs) == [(0, 6), (6, 24)]
    assert as_undisturbed(runs, undisturbed)


def test_the_run_of_a_node_that_is_lost_goes_on_at_another_that_may_join_later(
    there: dict[str, str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """The only node left is lost, so the run waits for the one that joins."""
    runs = tmp_path / "runs"
    with held_task(there, runs, tmp_path / "marker") as (process, worker):
        lose_node_of(worker)
        with joining(there, tmp_path):
            ended(process)
    assert steps(runs) == [(0, 6), (6, 24)]
    assert as_undisturbed(runs, undisturbed)


@contextmanager
def joining(there: dict[str, str], folder: Path) -> Generator[None]:
    with ExitStack() as nodes:
        try:
            nodes.enter_context(worker_node(there, folder, there["RAY_ADDRESS"]))
        except NotStarted as error:
            pytest.skip(str(error))
        yield
