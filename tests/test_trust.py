"""A record that came from somebody else does not choose what is run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_session import config
from tightfit.program import export
from tightfit.program import score as device_score
from tightfit.records.record import RunRecord, write_run
from tightfit.run import gain, replay
from tightfit.run.checks import own_targets

COMMANDS: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
    "replay": (replay.main, ["{}"]),
    "gain": (gain.main, ["{}"]),
    "export": (export.main, ["run={}", "format=torch_export"]),
    "device_score": (device_score.main, ["run={}", "adapters=none"]),
}


@pytest.mark.parametrize("part", ["dataset", "model", "optimizer"])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_record_names_is_run_only_if_it_is_ours_or_trusted(
    command: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    evil = {
        "_target_": "pathlib.Path.unlink",
        "name": "evil",
        "self": {"_target_": "pathlib.Path", "_args_": [str(victim)]},
    }
    record = RunRecord("k", "scratch", config(tmp_path, **{part: evil}), status="finished")
    record.memory, record.summary = {"batch_size": 4}, {"steps": 1, "weights_sha256": ""}
    write_run(tmp_path, record)
    (tmp_path / "losses.f32").write_bytes(b"")
    main, words = COMMANDS[command]
    assert main([word.format(tmp_path) for word in words]) == 2
    told = capsys.readouterr().err
    assert "which is no part of tightfit and would be run; say trust=true if the run is your own" in told
    assert "pathlib.Path" in told or "tests.synthetic.bars" in told
    assert victim.exists()


def test_what_our_modules_import_is_not_ours() -> None:
    assert {"tightfit.models.lenet5.lenet5", "tightfit.optimizers.schedules.StepDecay"} <= own_targets()
    assert not {"tightfit.datasets.routes.subprocess.run", "tightfit.datasets.routes.run_quietly"} & own_targets()
