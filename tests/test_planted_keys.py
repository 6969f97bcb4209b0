"""No key or token of the environment is in a file that a run, a report, a federation or an export leaves."""

import base64
import gzip
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.collect import collect
from analysis.report.make import make
from analysis.report.own import load_own
from tests.federated.members import task, terms, whole_round
from tests.killing import killed_at_second_checkpoint
from tests.on_device.test_programs import p_rge_config
from tests.planted import NAMES, SECRETS, leaks, plant
from tests.test_session import MEZO, config
from tests.torture.methods import ELASTIC
from tightfit.federated.client import Client, over_http
from tightfit.federated.log import FederationLog
from tightfit.federated.service import server
from tightfit.program.export import export
from tightfit.program.train import main as train_program
from tightfit.run.replay import rebuild
from tightfit.run.session import carry_out

VALUE = SECRETS["HF_TOKEN"].encode()


@pytest.fixture(autouse=True)
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/it", VALUE * 9)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"a" + VALUE),
        *(lambda path, n=n: path.write_bytes(base64.b64encode(b"a" * n + VALUE + b"z")) for n in range(3)),
        lambda path: path.write_bytes(gzip.compress(VALUE * 9)),
        zipped,
    ],
)
def test_a_key_is_found_where_there_is_one(write: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "file")
    assert leaks(tmp_path) == [f"HF_TOKEN in {tmp_path / 'deep' / 'file'}"]


def test_runs_their_results_and_their_report_hold_none(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    finished = carry_out(config(runs, optimizer=MEZO), command=["optimizer=mezo", "seed=0"])
    assert rebuild(finished.folder)
    assert carry_out(config(runs, optimizer={**MEZO, "lr": 1e30}, seed=1)).status == "diverged"
    assert carry_out(config(runs, optimizer={**ELASTIC, "bp_layers": 9})).status == "failed"
    with killed_at_second_checkpoint():
        carry_out(config(runs, optimizer=MEZO, seed=2))
    collect("scratch", runs, "smoke", experiments=tmp_path / "experiments")
    index = make(tmp_path / "report", load_own(runs))
    assert finished.folder.name in index.read_text()
    written = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert written >= {".json", ".jsonl", ".pt", ".f32", ".html", ".csv", ".tex"}
    assert leaks(tmp_path) == []


def test_a_federation_holds_none(tmp_path: Path) -> None:
    log = FederationLog(tmp_path / "federation.sqlite", terms())
    serving = server(log, "127.0.0.1", 0)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    answered: list[str] = []
    speak = over_http(f"http://127.0.0.1:{serving.server_address[1]}", 10, answered.append)
    whole_round(log)
    member = Client("a", task(), speak)
    member.catch_up()
    assert len(log.sums)
    serving.shutdown()
    serving.server_close()
    thread.join()
    assert leaks(tmp_path) == []
    log.close()
    assert not [name for name in NAMES if SECRETS[name] in "".join(answered)]


@pytest.mark.slow
def test_an_export_and_what_a_device_leaves_hold_none(tmp_path: Path) -> None:
    run = carry_out(p_rge_config(tmp_path)).folder
    program = export(run, "torch_export", tmp_path / "program")
    assert train_program([f"program={program}"]) == 0
    assert len(list(program.parent.iterdir())) > 3
    assert leaks(tmp_path) == []
