"""Settings of all tests."""

import pytest
import torch
from hypothesis import settings

from tightfit.records.machine import describe_hardware, describe_machine
from tightfit.run.keys import idle_settings

# No test is about time, so none fails for it.
settings.register_profile("tightfit", deadline=None)
settings.load_profile("tightfit")


def pytest_report_header() -> str:
    """The machine, since what passes on one may fail, or take twice as long, on another."""
    device = torch.device("cpu")
    told = describe_machine(device) | describe_hardware(device)
    return f"machine: {told['cpu']}, {told['capability']} ({' '.join(told['instructions'])}), {told['cores']} cores"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU say so where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU, and PyTorch finds none"))


@pytest.fixture(autouse=True)
def _parts_are_asked_anew() -> None:
    """What a test puts in the place of a part is no part of another test."""
    idle_settings.cache_clear()
