"""`make gpu-check`: what it measures is measured here on the CPU, by the host in place of graphs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tightfit.bench import gpu
from tightfit.bench.gpu import Row, Workload, checked, main, write
from tightfit.bench.language import Shape, settings_of

CPU = torch.device("cpu")
TINY = Workload("tiny", {**settings_of(Shape(16, 2, 2, 1, 24)), "vocab_size": 64}, "float32", 2, 8, 0)


def test_without_a_gpu_it_says_so_in_a_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        main(["--file", str(tmp_path / "results.json")])
    assert ended.value.code == 2
    assert re.fullmatch(r"gpu-check: .* no CUDA device .*\n", capsys.readouterr().err)
    assert not any(tmp_path.iterdir())


def test_each_measurement_gives_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "REPEATS", 2)
    parts = (gpu.steps(TINY, CPU), gpu.stacked(CPU, runs=2), gpu.integers(CPU), gpu.predictions(TINY, CPU))
    rows = [row for part in parts for row in part]
    assert all(row.value is not None for row in rows)
    off = {row.check: row.verdict for row in rows if row.unit == "%" or "bits" in row.check}
    assert set(off.values()) == {"ok"}
    assert len(off) == 6


def test_what_fails_is_a_row_and_the_rest_goes_on_until_the_time_is_over(tmp_path: Path) -> None:
    def failing() -> Iterator[Row]:
        yield Row("one", 2.0, "ms", 3.0)
        raise RuntimeError("no kernel\nand more")

    rows = checked({"a": failing, "b": lambda: iter([Row("two", 4.0, "ms", 3.0)])}, deadline=float("inf"))
    assert [row.verdict for row in rows] == ["ok", "failed: RuntimeError: no kernel", "above its bound"]
    assert checked({"a": failing}, deadline=0.0)[0].verdict == "left out: no time"
    write(rows, CPU, tmp_path / "results.json")
    told = json.loads((tmp_path / "results.json").read_text())
    assert [row["verdict"] for row in told["rows"]] == [row.verdict for row in rows]
    assert "torch" in told["machine"]
