"""The runs of the first protocol: each has the settings that its key is the digest of, and nothing was made up."""

from pathlib import Path

import pytest

from analysis.load import EXPERIMENTS, read_records
from experiments.first_protocol import earliest_key, first_key

RESULTS = sorted(EXPERIMENTS.glob("*/results/**/*.jsonl"))
KEYED_WITH_PLACES_OF_DATA = EXPERIMENTS / "elasticzo/results/tuning/full_zo.jsonl"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.relative_to(EXPERIMENTS).with_suffix("")))
def test_the_key_of_a_run_is_the_digest_of_its_settings(path: Path):
    key_of = earliest_key if path == KEYED_WITH_PLACES_OF_DATA else first_key
    first = [record for record in read_records(path) if record["protocol"] == 1]
    assert [key_of(record["config"]) for record in first] == [record["key"] for record in first]
    for record in first:
        method, summary = record["method"], record["summary"]
        assert method["backpropagates"] == (method["backward_passes"] > 0)
        for kind in ("forward", "backward"):
            if summary.get("steps"):
                assert summary[f"{kind}_passes"] == method[f"{kind}_passes"] * summary["steps"], record["key"]


def test_all_runs_were_found_and_say_no_more_than_was_written_down():
    first = [record for path in RESULTS for record in read_records(path) if record["protocol"] == 1]
    assert len(first) == 672
    assert all(record["command"] and record["settings_from"] for record in first)
    assert not any("weights_sha256" in record["summary"] or "checksums" in record["dataset"] for record in first)
    assert {name for record in first for name in record["machine"]} == {
        *("cpu", "cores", "device", "python", "threads", "torch")
    }
