"""What is told of a machine, from its own words."""

from pathlib import Path

import pytest
import torch

from tightfit.records import machine
from tightfit.records.machine import describe_hardware, describe_processor, host, instructions

CPU = torch.device("cpu")
ZEN_3 = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
stepping\t: 0
flags\t\t: fpu sse2 avx avx2 fma rdtscp

processor\t: 1
model\t\t: 2
"""
NEOVERSE = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd asimddp i8mm bf16\nCPU part\t: 0xd40\n"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a test writes what the system says."""
    for name in ("CPUINFO", "MACHINE_ID", "DRIVER"):
        monkeypatch.setattr(machine, name, tmp_path / name)
    return tmp_path


def test_processor_is_known_by_family_model_and_stepping_and_by_its_instructions(told: Path) -> None:
    (told / "CPUINFO").write_text(ZEN_3)
    described = describe_hardware(CPU)
    assert [described[f"cpu_{part}"] for part in ("family", "model", "stepping")] == ["25", "1", "0"]
    assert described["instructions"] == ["avx", "avx2", "fma"]
    assert described["capability"] == torch.backends.cpu.get_cpu_capability()
    assert describe_processor() == {"capability": described["capability"], "instructions": "avx avx2 fma"}


def test_instructions_of_arm_have_the_names_they_have_elsewhere(told: Path) -> None:
    (told / "CPUINFO").write_text(NEOVERSE)
    assert {"neon", "dotprod", "i8mm", "bf16"} <= instructions()
    assert describe_hardware(CPU)["cpu_family"] == ""


def test_system_that_tells_nothing_leaves_blanks(told: Path) -> None:
    assert instructions() == frozenset()
    described = describe_hardware(CPU)
    assert (described["host"], described["instructions"]) == ("", [])
    assert machine._driver() == ""


def test_host_is_told_from_another_by_a_digest_that_does_not_name_it(told: Path) -> None:
    digests = []
    for identity in ("0123456789abcdef\n", "fedcba9876543210\n", "0123456789abcdef\n"):
        (told / "MACHINE_ID").write_text(identity)
        digests.append(host())
    assert digests[0] == digests[2] != digests[1]
    assert all(len(digest) == 12 and digest not in "0123456789abcdef" for digest in digests)


def test_driver_is_told_by_its_number(told: Path) -> None:
    (told / "DRIVER").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun 6 22:20:39 UTC\n")
    assert machine._driver() == "535.54.03"


@pytest.mark.cuda
def test_gpu_is_told_by_its_capability_and_driver() -> None:
    described = describe_hardware(torch.device("cuda"))
    assert float(described["device_capability"]) >= 5
    assert described["cuda"]
