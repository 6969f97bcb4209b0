"""A call for help is answered by what the command is, and is no bad input."""

from types import ModuleType

import pytest

from tightfit import device_score, replay
from tightfit.datasets import __main__ as datasets
from tightfit.plan import __main__ as plan


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("command", [replay, datasets, device_score, plan], ids=lambda command: command.__name__)
def test_help_is_what_the_command_is(command: ModuleType, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([flag]) == 0
    answer = capsys.readouterr()
    assert answer.out.strip() == str(command.__doc__).strip()
    assert not answer.err
