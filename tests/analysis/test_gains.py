"""What training gained, as a table."""

from pathlib import Path

import pandas as pd

from analysis.gains import load_gains, page
from analysis.render.markdown import markdown

COLUMNS = "key,cell_row,optimizer,model,budget,seed,examples,before,after,gained,lost,difference,low,high,commit\n"


def test_each_seed_has_its_difference_in_the_order_of_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "paper" / "results" / "tuning_gains.csv"
    path.parent.mkdir(parents=True)
    path.write_text(
        COLUMNS
        + "b,bp_adam,bp_adam,minilm_l6,700MB,0,1000,480,860,400,20,0.38,0.34,0.42,abcdef012345\n"
        + "a1,mezo,mezo,smollm2_135m,700MB,1,1000,800,810,30,20,0.01,-0.00386,0.02386,abcdef012345\n"
        + "a0,mezo,mezo,smollm2_135m,700MB,0,1000,800,850,70,20,0.05,0.0314,0.0686,abcdef012345\n"
    )
    text = markdown(page(load_gains("paper/tuning", tmp_path)))
    first, second = text.splitlines()[6:8]
    assert first == (
        "| 700MB | MeZO | SmolLM2-135M | 80.0 | 83.00 ± 2.83 (2) | +5.0 (+3.1 – +6.9); +1.0 (-0.4 – +2.4) |"
    )
    assert second.startswith("| 700MB | BP Adam | MiniLM-L6 | 48.0 | 86.00 (1) | +38.0")
    assert "All 1,000 test sentences" in text
    assert "commit abcdef0" in text
    assert "ends above" not in text
    beside = markdown(page(load_gains("paper/tuning", tmp_path), without=["mezo"]))
    assert "| 700MB | MeZO | BP Adam | 0 of 2 |" in beside


def test_where_nothing_was_scored_there_are_no_gains(tmp_path: Path) -> None:
    assert isinstance(load_gains("paper/tuning", tmp_path), pd.DataFrame)
    assert load_gains("paper/tuning", tmp_path).empty
