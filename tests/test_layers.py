"""The command that shows what a run's bytes are."""

import csv
import io

import pytest

from tightfit.plan.layers import main

BARS = ["dataset._target_=tests.synthetic.bars", "training.batch_size=4"]


def test_operations_come_as_csv_with_what_this_optimizer_keeps(capsys: pytest.CaptureFixture[str]) -> None:
    kept = {}
    for optimizer in ("mezo", "elastic_zo", "bp_sgd"):
        assert main([*BARS, f"optimizer={optimizer}", "--csv"]) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert [row["module"] for row in rows if row["kind"] == "addmm"] == ["fc1", "fc2", "fc3"]
        kept[optimizer] = [row["module"] for row in rows if row["kept"] != "0"]
    assert kept["mezo"] == []
    assert kept["elastic_zo"] == ["relu4"]
    assert kept["bp_sgd"] == ["relu1", "pool1", "relu2", "pool2", "relu3", "relu4"]


def test_the_table_ends_with_what_a_step_holds_in_each_convention(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BARS, "optimizer=mezo"]) == 0
    shown = capsys.readouterr().out
    assert "conv2" in shown
    # 107,786 parameters, and 18,058 numbers an example in the papers' convention (ElasticZO, section 5.3).
    assert f"all_buffers_live: {(107_786 + 4 * 18_058) * 4 / 1024:.4g} KiB" in shown
    assert "peak_live: " in shown
    assert "peak_live of inference: " in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=nope"], "Could not find 'model/nope'"),
        (["optimizer=elastic_zo", "optimizer.bp_layers=9"], "bp_layers=9 but LeNet5 has 5 layers"),
        (["training.batch_size=0"], "training.batch_size=0"),
        (["dataset=vader"], "model=lenet5 reads no text but dataset=vader is text"),
    ],
)
def test_impossible_words_are_told_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*BARS, *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
