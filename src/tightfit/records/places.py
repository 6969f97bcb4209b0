"""Where this program keeps what is no code: its configurations and its experiments."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parents[1]
# A checkout has both folders at its top; an installed package has them in it.
HOME = CHECKOUT if (CHECKOUT / "conf" / "config.yaml").exists() else PACKAGE
CONF, EXPERIMENTS = HOME / "conf", HOME / "experiments"
