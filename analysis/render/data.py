"""The numbers of a page as CSV."""

from __future__ import annotations

import pandas as pd


def csv(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False, lineterminator="\n")
