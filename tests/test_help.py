"""A call for help is answered by what the command is, and is no bad input."""

from types import ModuleType

import pytest

from tightfit.bench import device as bench_device
from tightfit.bench import language as bench_language
from tightfit.bench import steps as bench
from tightfit.datasets import __main__ as datasets
from tightfit.launch import reproduce
from tightfit.plan import __main__ as plan
from tightfit.plan import layers
from tightfit.program import export
from tightfit.program import score as device_score
from tightfit.program import train as device_train
from tightfit.run import gain, replay


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    "command", [replay, datasets, device_score, device_train, export, plan], ids=lambda command: command.__name__
)
def test_help_is_what_the_command_is(command: ModuleType, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([flag]) == 0
    answer = capsys.readouterr()
    assert answer.out.strip() == str(command.__doc__).strip()
    assert not answer.err


@pytest.mark.parametrize(
    "command", [bench, bench_device, bench_language, gain, layers, reproduce], ids=lambda command: command.__name__
)
def test_help_with_options_begins_no_work(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: python -m tightfit" in shown
    assert str(command.__doc__).split()[0] in shown
