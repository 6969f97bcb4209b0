"""`python -m tightfit.bench`: see `tightfit.bench.steps`."""

from tightfit.bench.steps import main

main()
